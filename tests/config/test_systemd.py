"""The units of config/systemd: systemd itself takes them, their commands exist, and their environment is settings."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.journal_roles import PROCESSES, secret_of
from config.secret_files import MADE, make_secrets
from config.settings import Settings
from config.settings.process_secrets import secrets_of
from tests.cli import CommandLine
from tests.machines.tools import ROOT

UNITS = ROOT / "config" / "systemd"
PROGRAM = "/opt/relais/bin/relais"
SERVICES = sorted(UNITS.glob("*.service"))
FOR_ALL = UNITS / "relais-.service.d" / "hardened.conf"
ACCOUNTS = UNITS / "relais.sysusers.conf"
HARDENED = {
    "NoNewPrivileges": ["yes"],
    "CapabilityBoundingSet": [""],
    "AmbientCapabilities": [""],
    "ProtectSystem": ["strict"],
    "ProtectHome": ["yes"],
    "ProtectProc": ["invisible"],
    "PrivateTmp": ["yes"],
    "PrivateDevices": ["yes"],
    "PrivateMounts": ["yes"],
    "PrivateUsers": ["yes"],
    "PrivateIPC": ["yes"],
    "RemoveIPC": ["yes"],
    "ProtectKernelTunables": ["yes"],
    "ProtectKernelModules": ["yes"],
    "ProtectKernelLogs": ["yes"],
    "ProtectControlGroups": ["yes"],
    "ProtectClock": ["yes"],
    "ProtectHostname": ["yes"],
    "RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX"],
    "RestrictNamespaces": ["yes"],
    "RestrictRealtime": ["yes"],
    "RestrictSUIDSGID": ["yes"],
    "LockPersonality": ["yes"],
    "MemoryDenyWriteExecute": ["yes"],
    "SystemCallArchitectures": ["native"],
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "SystemCallErrorNumber": ["EPERM"],
}
LOCAL = {"relais-exporter", "relais-flower", "relais-audit", "relais-migrate"}  # those that call and serve this machine
ON_REQUEST = {"erp_token", "console_oidc_client_secret"}  # an installation that has them adds them to the unit
EXPOSURE = 1.5  # what docs/deployment.md says that none exceeds
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")


def lines(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def process_of(unit: Path) -> str:
    return unit.stem.removeprefix("relais-")


@needs_systemd
def test_systemd_finds_no_fault_with_them(tmp_path: Path) -> None:
    """A program that is there stands in for the installed one."""
    for unit in [*SERVICES, *UNITS.glob("*.t*")]:
        (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, sys.executable))
    units = sorted(str(path) for path in tmp_path.iterdir())
    shutil.copytree(FOR_ALL.parent, tmp_path / FOR_ALL.parent.name)
    words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "relais" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.stem)
def test_a_units_command_exists_and_its_environment_is_settings(
    unit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_secrets(tmp_path)
    (words,) = [command.split() for command in lines(unit, "ExecStart")]
    assert words[0] == PROGRAM
    assert CommandLine(capsys, {"RELAIS_DATA_DIR": str(tmp_path)})(words[1], "--help").code == 0

    for name in Settings.public():
        monkeypatch.delenv(f"RELAIS_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)
    shared = (UNITS / "relais.env.example").read_text()
    given = dict(
        each.split("=", 1) for each in [*re.findall(r"^RELAIS_.*", shared, re.MULTILINE), *lines(unit, "Environment")]
    )
    for variable, value in given.items():
        monkeypatch.setenv(variable, value.replace("%d", str(tmp_path)))
    settings = Settings()
    for variable, value in given.items():
        name = variable.removeprefix("RELAIS_").removesuffix("_FILE").lower()
        assert name in Settings.public(), variable
        if variable.endswith("_FILE"):
            secret = settings.value(name)
            assert isinstance(secret, SecretStr)
            assert secret.get_secret_value() == (tmp_path / value.removeprefix("%d/")).read_text().strip()


@needs_systemd
def test_systemd_says_how_exposed_a_unit_is_and_none_more_than_is_told(tmp_path: Path) -> None:
    place = tmp_path / "etc" / "systemd" / "system"
    shutil.copytree(UNITS, place)
    words = ["systemd-analyze", "security", "--offline=true", f"--root={tmp_path}", "--no-pager"]
    done = subprocess.run(
        [*words, *(unit.name for unit in SERVICES)], capture_output=True, text=True, check=False, timeout=60
    )
    found = dict(re.findall(r"exposure level for (\S+): ([0-9.]+)", done.stdout))
    assert set(found) == {unit.name for unit in SERVICES}, done.stderr
    assert {name: figure for name, figure in found.items() if float(figure) > EXPOSURE} == {}
    assert f"none above {EXPOSURE}" in (ROOT / "docs" / "deployment.md").read_text()


def test_every_unit_is_shut_in_and_opens_nothing_again() -> None:
    assert {key: lines(FOR_ALL, key) for key in HARDENED} == HARDENED
    assert "[Service]\n" in FOR_ALL.read_text()
    for unit in SERVICES:
        assert unit.name.startswith("relais-"), "else the directory of all has no say"
        assert [key for key in HARDENED if lines(unit, key)] == []
        shut = lines(unit, "IPAddressDeny"), lines(unit, "IPAddressAllow")
        assert shut == ((["any"], ["localhost"]) if unit.stem in LOCAL else ([], []))


def test_a_unit_is_an_account_with_a_state_of_its_own() -> None:
    for unit in SERVICES:
        anchors = unit.stem == "relais-worker"
        assert lines(unit, "User") == [unit.stem]
        assert lines(unit, "Group") == ["relais-anchors" if anchors else unit.stem]
        assert (lines(unit, "UMask"), lines(unit, "StateDirectoryMode")) == (
            (["0027"], ["0750"]) if anchors else (["0077"], ["0700"])
        )
        assert lines(unit, "StateDirectory") == [unit.stem]
        assert lines(unit, "WorkingDirectory") == [f"/var/lib/{unit.stem}"]
        assert f"RELAIS_DATA_DIR=/var/lib/{unit.stem}" in lines(unit, "Environment")
    made = [line.split() for line in ACCOUNTS.read_text().splitlines() if line[:1] in "ugm"]
    assert {words[1] for words in made if words[0] == "u"} == {unit.stem for unit in SERVICES}
    members = {(words[2], words[1]) for words in made if words[0] == "m"}
    assert {account for group, account in members if group == "relais-anchors"} == {"relais-audit", "relais-console"}
    assert {account for group, account in members if group == "relais-erp"} == {"relais-worker", "relais-console"}


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd is not installed here")
def test_systemd_makes_the_accounts(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    words = ["systemd-sysusers", f"--root={tmp_path}", str(ACCOUNTS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    groups = {line.split(":")[0]: line.split(":")[3] for line in (tmp_path / "etc" / "group").read_text().splitlines()}
    assert sorted(groups["relais-anchors"].split(",")) == ["relais-audit", "relais-console"]
    assert {unit.stem for unit in SERVICES} <= {
        line.split(":")[0] for line in (tmp_path / "etc" / "passwd").read_text().splitlines()
    }


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.stem)
def test_a_unit_gets_its_own_secrets_and_no_others(unit: Path) -> None:
    loaded = {name for name, _, path in (each.partition(":") for each in lines(unit, "LoadCredential"))}
    assert loaded <= set(MADE)
    folder = "Environment=RELAIS_DATABASE_ROLES=%d\n" in unit.read_text()
    assert folder is (process_of(unit) == "migrate")
    roles = {secret_of(process) for process in PROCESSES} if folder else set()
    assert loaded == set(re.findall(r"=%d/(\w+)", unit.read_text())) | roles
    said = {each.partition("=")[0] for each in lines(unit, "Environment")}
    names = {each.removeprefix("RELAIS_").removesuffix("_FILE").lower() for each in said}
    assert names & Settings.secret() == secrets_of(process_of(unit)) - ON_REQUEST


def test_what_all_units_read_is_no_secret() -> None:
    shared = re.findall(r"^RELAIS_(\w+)=", (UNITS / "relais.env.example").read_text(), re.MULTILINE)
    assert shared
    assert {name.lower() for name in shared} & Settings.secret() == set()


def test_the_worker_is_watched_and_may_settle_what_it_has_in_hand() -> None:
    worker = UNITS / "relais-worker.service"
    assert lines(worker, "Type") == ["notify"]
    assert int(lines(worker, "WatchdogSec")[0]) >= 60
    assert int(lines(worker, "TimeoutStopSec")[0]) > Settings.public()["lease"][2].default
