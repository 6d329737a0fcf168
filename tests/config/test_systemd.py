"""The units of config/systemd: systemd itself takes them, their commands exist, and their environment is settings."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from config.secret_files import MADE, make_secrets
from config.settings import Settings
from tests.cli import CommandLine
from tests.machines.tools import ROOT

UNITS = ROOT / "config" / "systemd"
PROGRAM = "/opt/relais/bin/relais"
SERVICES = sorted(UNITS.glob("*.service"))
HARDENED = ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=", "User=relais", "PrivateTmp=yes")


def lines(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_finds_no_fault_with_them(tmp_path: Path) -> None:
    """A program that is there stands in for the installed one."""
    for unit in [*SERVICES, *UNITS.glob("*.t*")]:
        (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, sys.executable))
    units = sorted(str(path) for path in tmp_path.iterdir())
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
        monkeypatch.setenv(variable, value.replace("%d/", f"{tmp_path}/"))
    settings = Settings()
    for variable, value in given.items():
        name = variable.removeprefix("RELAIS_").removesuffix("_FILE").lower()
        assert name in Settings.public(), variable
        if variable.endswith("_FILE"):
            secret = settings.value(name)
            assert isinstance(secret, SecretStr)
            assert secret.get_secret_value() == (tmp_path / value.removeprefix("%d/")).read_text().strip()


@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.stem)
def test_a_unit_is_shut_in_and_gets_only_the_credentials_that_it_reads(unit: Path) -> None:
    text = unit.read_text()
    for rule in HARDENED:
        assert f"\n{rule}\n" in text
    loaded = {name for name, _, path in (each.partition(":") for each in lines(unit, "LoadCredential"))}
    assert loaded <= set(MADE)
    assert loaded == set(re.findall(r"=%d/(\w+)", text))
    assert ("postgres_owner" in loaded) is (unit.stem == "relais-migrate")


def test_the_worker_is_watched_and_may_settle_what_it_has_in_hand() -> None:
    worker = UNITS / "relais-worker.service"
    assert lines(worker, "Type") == ["notify"]
    assert int(lines(worker, "WatchdogSec")[0]) >= 60
    assert int(lines(worker, "TimeoutStopSec")[0]) > Settings.public()["lease"][2].default
