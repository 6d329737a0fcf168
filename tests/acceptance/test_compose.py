"""docker-compose.yml, without Docker: every command in it runs for real, and every healthcheck passes.

The file is read as Compose reads it. Hosts and published ports become loopback and free ports, the servers are the
test's own PostgreSQL and Valkey, everything else is taken as it stands.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process, Program
from config.embedded.valkey import _binary
from config.settings import Settings
from tests.cli import clean_environment
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
SECRETS = {
    "POSTGRES_PASSWORD": "pg-secret", "VALKEY_PASSWORD": "vk-secret", "FLOWER_PASSWORD": "fl-secret",
    "RELAIS_SPILL_KEY": "a-key-that-is-shared",
}  # fmt: skip
HOSTS = {"0.0.0.0": "127.0.0.1", "erp-sim:": "127.0.0.1:", "api:": "127.0.0.1:"}
PORTS = ("8470", "8471", "8472", "5555")

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
    return read(SECRETS)


class Host:
    """One machine in the place of all containers."""

    def __init__(self, settings: Settings, leash: Leash) -> None:
        self.settings, self.leash = settings, leash
        self.ports: dict[str, str] = {}
        for port in PORTS:
            self.ports[port] = str(choose(taken=[int(taken) for taken in self.ports.values()]))

    def here(self, text: str) -> str:
        """A word of the file with its hosts and ports as they are on this machine."""
        for host, here in HOSTS.items():
            text = text.replace(host, here)
        for port, free in self.ports.items():
            text = re.sub(rf"(?<=:){port}\b|^{port}$", free, text)
        return text.replace("/data", str(self.settings.data_dir))

    def argv(self, words: list[str]) -> tuple[str, ...]:
        """`relais` and `python` are those of this environment; CMD-SHELL goes to a shell."""
        first, *rest = [self.here(word) for word in words]
        programs = {"relais": (sys.executable, "-m", "workers.cli"), "python": (sys.executable,)}
        return (*programs.get(first, (first,)), *rest)

    def environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        env = {name: self.here(value) for name, value in service.get("environment", {}).items()}
        if "RELAIS_DATABASE_URL" in env:
            env |= {
                "RELAIS_DATABASE_URL": self.settings.need("database_url"),
                "RELAIS_REDIS_URL": self.settings.need("redis_url"),
                "RELAIS_API_PORT": self.ports["8470"],
                "RELAIS_ERP_SIM_PORT": self.ports["8471"],
                "RELAIS_FLOWER_PORT": self.ports["5555"],
            }
        return clean_environment(env) | {"PYTHONPATH": str(ROOT)}

    def run(self, service: Mapping[str, Any], words: list[str], **env: str) -> subprocess.CompletedProcess[str]:
        argv, surroundings = self.argv(words), self.environment(service) | env
        return subprocess.run(argv, env=surroundings, capture_output=True, text=True, check=False, timeout=60)

    def start(self, name: str, service: Mapping[str, Any]) -> Process:
        log = self.settings.data_dir / "logs" / f"{name}.log"
        process = Process(Program(name, self.argv(service["command"]), log, self.environment(service), grace=20.0))
        self.leash.hold(process.mark)
        return process

    def healthy(self, service: Mapping[str, Any]) -> bool:
        kind, *words = service["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(service, words).returncode == 0


@pytest.fixture
def host(settings: Settings, leash: Leash) -> Host:
    return Host(settings, leash)


def test_every_relais_command_runs_and_every_healthcheck_passes(compose: dict[str, Any], host: Host) -> None:
    services = compose["services"]
    ours = {name: each for name, each in services.items() if each["image"] == "relais"}
    assert set(ours) == {"migrate", "api", "worker", "flower", "erp-sim"}
    assert host.run(ours["migrate"], ours["migrate"]["command"]).returncode == 0
    with ExitStack() as stack:
        processes = {}
        for name in ("erp-sim", "api", "worker", "flower"):
            assert not host.healthy(ours[name]), f"{name} looks healthy before it runs"
            processes[name] = host.start(name, ours[name])
            stack.callback(processes[name].end)
        for name, process in processes.items():
            until(lambda name=name: host.healthy(ours[name]), 60, 0.3, f"{name} is healthy")  # type: ignore[misc]
            assert process.poll() is None
        the_main_job(host, ours["api"])
        for process in processes.values():
            os.kill(process.pid, signal.SIGTERM)
        until(lambda: all(process.poll() is not None for process in processes.values()), 40, what="all have stopped")
        assert {name: process.poll() for name, process in processes.items()} == dict.fromkeys(processes, 0)


def the_main_job(host: Host, api: Mapping[str, Any]) -> None:
    """As README says: a key made inside the `api` container, orders handed over, the backlog drained."""
    key = host.run(api, ["relais", "client", "add", "front"]).stdout.strip()
    line = {"product": "3400937318044", "quantity": 1}
    orders = [{"pharmacy": "P1", "reference": f"R{number}", "lines": [line]} for number in range(20)]
    file = host.settings.data_dir / "orders.ndjson"
    file.write_text("\n".join(map(json.dumps, orders)))
    assert host.run(api, ["relais", "submit", str(file)], RELAIS_API_KEY=key).returncode == 0
    assert host.run(api, ["relais", "drain", "--timeout", "30s"]).returncode == 0
    ledger = json.loads(host.run(api, ["relais", "audit", "--json"]).stdout)
    assert (ledger["balanced"], ledger["delivered"]) == (True, 20)
    effects = (host.settings.data_dir / "erp-sim.jsonl").read_text().splitlines()
    assert len(effects) == 20


def test_valkey_starts_as_the_file_says_and_keeps_every_write(
    compose: dict[str, Any], leash: Leash, data_dir: Path
) -> None:
    service, port = compose["services"]["valkey"], choose()
    words = [str(_binary()), *service["command"][1:]]
    argv = (*words, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data_dir))
    process = Process(Program("valkey", argv, data_dir / "valkey.log"))
    leash.hold(process.mark)
    try:
        with redis.Redis(port=port, password=SECRETS["VALKEY_PASSWORD"]) as client:
            until(lambda: answers(client), 20)
            wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
            found = {name: client.config_get(name)[name] for name in wanted}
        assert found == wanted
    finally:
        process.end()
        leash.drop(process.mark)
    check = service["healthcheck"]["test"]
    assert check[0] == "CMD-SHELL"
    assert subprocess.run(["sh", "-n", "-c", check[1]], check=False).returncode == 0


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_postgres_is_asked_over_tcp(compose: dict[str, Any], postgres: Any) -> None:
    """The image's first start runs a server on its socket alone, which is not yet the journal."""
    from config.embedded.postgres import _binary as program

    kind, name, *options = compose["services"]["postgres"]["healthcheck"]["test"]
    argv = [str(program(name)), *options]
    assert kind == "CMD"
    assert subprocess.run([*argv, f"--port={postgres.port}"], check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert subprocess.run([*argv, "--port=1"], check=False, stdout=subprocess.DEVNULL).returncode != 0


def test_only_the_intake_is_published_and_on_loopback(compose: dict[str, Any]) -> None:
    published = {name: each["ports"] for name, each in compose["services"].items() if "ports" in each}
    assert published == {"api": ["127.0.0.1:8470:8470"]}


def test_every_secret_must_be_set_and_none_stands_in_the_file(compose: dict[str, Any]) -> None:
    for name in SECRETS:
        with pytest.raises(AssertionError, match=name):
            read({other: value for other, value in SECRETS.items() if other != name})
    flower = compose["services"]["flower"]["environment"]
    assert flower["RELAIS_FLOWER_AUTH"] == "relais:fl-secret"
    assert flower["RELAIS_ERP_URL"] == "http://erp-sim:8471"


def test_services_wait_for_what_they_need_and_data_outlives_containers(compose: dict[str, Any]) -> None:
    services, volumes = compose["services"], set(compose["volumes"])
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            ends = services[needed].get("restart") == "no"
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy"), name
            assert ends or "healthcheck" in services[needed]
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in volumes
    assert set(services["worker"]["depends_on"]) == {"postgres", "valkey", "migrate"}
    assert "valkey" not in services["api"]["depends_on"]
    assert services["erp-sim"]["profiles"] == ["sim"]


def test_the_image_is_built_from_what_there_is(compose: dict[str, Any]) -> None:
    build = compose["services"]["api"]["build"]
    dockerfile = (FILE.parent / build["context"] / build["dockerfile"]).read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    ignored = (ROOT / f"{build['dockerfile']}.dockerignore").read_text().split()
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored
