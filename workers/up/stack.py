"""What `relais up` runs: which services are ours, on which ports, with which settings, and where others find them.

`endpoints.json` in the data directory tells other commands; it is there only while the stack runs.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from config.acl import OPS, USERS
from config.addresses import server_url
from config.embedded.child import Child
from config.embedded.files import write_private
from config.embedded.holding import Holding
from config.embedded.ports import PortTaken, choose, holder, is_free
from config.embedded.postgres import Postgres
from config.embedded.process import Program, module, module_env
from config.embedded.ready import ReadyLine, answers
from config.embedded.service import Ready, Service
from config.embedded.valkey import Valkey
from config.journal_roles import passwords_in, urls_as
from config.settings import ENDPOINTS, Settings
from config.settings.console import LOOPBACK as ON_THIS_HOST
from config.settings.load import withheld
from config.settings.routes_file import load_backends, longest_batch
from config.settings.sources import PASSWORDS, PREFIX
from orders.client.settings import ClientSettings
from workers.liveness.canary import hangs
from workers.liveness.supervise import standing_by
from workers.up.endpoints import LOOPBACK, offer
from workers.up.simulator import key_file

FLOWER_USER: Final = "relais"
SPILL_KEY: Final = "spill.key"
SEAL_KEY: Final = "seal.key"
ANCHORS: Final = "anchors.ndjson"
INTAKE_PAUSE: Final = 1.0  # s before a restart of the intake at most: nobody can order meanwhile


@dataclass(frozen=True, slots=True)
class Stack:
    """One run: the settings, the services that are ours, by process the URLs of journal and Redis where each is a user
    of its own, and what to tell others.
    """

    settings: Settings
    services: tuple[Service, ...]
    control_port: int | None
    moved: tuple[str, ...]  # what listens on another port than usual, and why
    users: Mapping[str, Mapping[str, str]] = field(repr=False)
    offered: Mapping[str, object] = field(repr=False)

    def settings_for(self, command: str) -> Settings:
        """What a child sees: no secret but its own, and journal and Redis as the user that it is there."""
        own = {place: urls[command] for place, urls in self.users.items() if command in urls}
        return self.settings.replace(**own, **dict.fromkeys(withheld(command) - own.keys()))

    @property
    def journal_is_ours(self) -> bool:
        """Whether the journal is a service of this run."""
        return "owner_url" in self.offered["embedded"]  # type: ignore[operator]

    @property
    def private(self) -> bool:
        """Whether the journal is ours, and the console for this machine alone."""
        return self.journal_is_ours and self.settings.console.host == LOOPBACK

    @property
    def erp_file(self) -> Path:
        """Where the simulator keeps what it received."""
        return self.settings.files.data_dir / "erp-sim.jsonl"

    def announce(self) -> None:
        """Write `endpoints.json`, for its owner only."""
        write_private(self.settings.files.data_dir / ENDPOINTS, json.dumps(self.offered, indent=2) + "\n")

    def withdraw(self) -> None:
        """Take `endpoints.json` away."""
        (self.settings.files.data_dir / ENDPOINTS).unlink(missing_ok=True)


def plan(settings: Settings, holding: Holding) -> Stack:
    """Decide what is ours and where it listens, and write the ports down for the next run."""
    given = _given(settings)
    moved: list[str] = []
    ports = _ports(given, holding.ports, moved)
    holding.record([], ports)
    postgres, valkey = Postgres(holding.data_dir, ports["postgres"]), Valkey(holding.data_dir, ports["valkey"])
    ours: dict[str, str] = {}
    users: dict[str, Mapping[str, str]] = {}
    services: list[Service] = []
    if given.journal.url is None:
        services.append(postgres)
        given = given.replace(database_roles=holding.data_dir)
        users["database_url"] = urls_as(postgres.url, postgres.passwords())
        ours |= {"database_url": users["database_url"][OPS], "owner_url": postgres.url}
    elif given.journal.roles is not None:
        users["database_url"] = urls_as(given.journal.url, passwords_in(given.journal.roles))
    if given.queue.url is None:
        services.append(valkey)
        users["redis_url"] = {name: valkey.url_of(name) for name in USERS}
        ours["redis_url"] = valkey.url_of(OPS)
    if given.erp.url is None and not _several(given):
        ours["erp_url"] = f"http://{LOOPBACK}:{ports['erp_sim']}"
    spill_key = given.queue.spill_key or SecretStr(_kept_secret(holding.data_dir / SPILL_KEY))
    seal_key = given.proof.key or SecretStr(_kept_secret(holding.data_dir / SEAL_KEY))
    auth = given.monitoring.flower_auth or SecretStr(f"{FLOWER_USER}:{secrets.token_urlsafe(12)}")
    update = {
        **ours,
        **{place: urls[OPS] for place, urls in users.items()},
        **dict.fromkeys(PASSWORDS.values()),  # they are in the URLs by now
        "flower_auth": auth,
        "spill_key": spill_key,
        "seal_key": seal_key,
        "anchor": given.proof.anchor or str(holding.data_dir.absolute() / ANCHORS),
        "data_dir": holding.data_dir,
        **_console_url(given, ports["console"]),
        **{f"{name}_port": ports[name] for name in ("api", "flower", "exporter", "console", "erp_sim")},
    }
    final = given.replace(**update)
    control = ports["erp_control"] if "erp_url" in ours else None
    return Stack(final, tuple(services), control, tuple(moved), users, offer(final, tuple(ours), users, control))


def relais_children(stack: Stack) -> list[Child]:
    """Simulator unless the ERP is given, exporter, Flower, console, worker, intake: what stops first starts last."""
    settings, offered = stack.settings, stack.offered
    children = [
        _child(stack, "exporter", answers(f"{offered['exporter_url']}/healthz")),
        _child(stack, "flower", answers(f"{offered['flower_url']}/healthcheck")),
        _child(stack, "console", answers(f"{offered['console_url']}/healthz")),
        _worker(stack),
        replace(_child(stack, "api", answers(f"{offered['api_url']}/readyz"), grace=15.0), pause=INTAKE_PAUSE),
    ]
    if stack.control_port is None:
        return children
    key = key_file(settings.files.data_dir)
    options = ("--control-port", str(stack.control_port), "--file", str(stack.erp_file), "--sign-key", str(key))
    return [_child(stack, "erp-sim", answers(f"{settings.erp.url}/health"), *options), *children]


def child_env(settings: Settings) -> dict[str, str]:
    """The environment in which a child loads exactly these settings, wherever it runs, and no front end's."""
    env = {name: value for name, value in os.environ.items() if name not in _variables()}
    for name, value in settings.values().items():
        if isinstance(value, SecretStr):
            env[_variable(name)] = value.get_secret_value()
        elif isinstance(value, Path):
            env[_variable(name)] = str(value.absolute())
        elif value is not None:
            env[_variable(name)] = str(value)
    return module_env(env)


def _given(settings: Settings) -> Settings:
    """The settings without the URLs that a run before offered: those were its own services, and they are gone."""
    path = settings.files.data_dir / ENDPOINTS
    if not path.exists():
        return settings
    offered = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    stale = {name: None for name in offered.get("embedded", []) if settings.value(name) == offered.get(name)}
    return settings.replace(**stale)


def _console_url(given: Settings, port: int) -> dict[str, str]:
    """Where browsers reach the console, where nobody said so and they run on this machine."""
    ours = given.console.url is None and given.console.host in ON_THIS_HOST
    return {"console_url": server_url(given.console.host, port)} if ours else {}


def _several(settings: Settings) -> bool:
    """True when the file of backends says where they are, so that none is ours."""
    return [*load_backends(settings).values()] != [settings]


def _ports(settings: Settings, before: Mapping[str, int], moved: list[str]) -> dict[str, int]:
    """A port for each server: the one that was asked for, else the usual one, that of the run before, or a free one.

    What has to listen elsewhere than usual is told in `moved`. Raises PortTaken for one that was asked for.
    """
    wanted = {
        "postgres": (LOOPBACK, None),
        "valkey": (LOOPBACK, None),
        "api": (settings.api.host, settings.api.port),
        "flower": (LOOPBACK, settings.monitoring.flower_port),
        "exporter": (settings.monitoring.exporter_host, settings.monitoring.exporter_port),
        "console": (settings.console.host, settings.console.port),
        "erp_sim": (LOOPBACK, settings.erp.sim_port),
        "erp_control": (LOOPBACK, None),
    }
    ports: dict[str, int] = {}
    for name, (host, port) in wanted.items():
        asked = f"{name}_port" in settings.given()
        if port and not is_free(port, host):
            whose = f"port {port} of {host} is taken by {holder(port)}"
            if asked:
                raise PortTaken(f"{whose}: RELAIS_{name.upper()}_PORT asks for it")
            moved.append(f"{name}: {whose}")
        ports[name] = choose((port, before.get(name)), host=host, taken=ports.values())
    return ports


def _kept_secret(path: Path) -> str:
    """A secret of this data directory, made once: what was spilled or sealed before a restart is read after it."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32) + "\n")
    return path.read_text(encoding="utf-8").strip()


def _child(stack: Stack, name: str, ready: Ready, *options: str, grace: float = 10.0) -> Child:
    return Child(_program(stack, name, *options, grace=grace), ready)


def _worker(stack: Stack) -> Child:
    """A worker may finish the batch in hand before it is killed, which lasts as long as `lease` counts on."""
    program = _program(stack, "worker", grace=longest_batch(stack.settings))
    line = ReadyLine(log_of(stack.settings, "worker"))
    return Child(program, line, line.begin, hangs=partial(hangs, stack.settings), spare=standing_by(program))


def _program(stack: Stack, command: str, *options: str, grace: float) -> Program:
    argv = module("workers.cli", command, *options)
    return Program(command, argv, log_of(stack.settings, command), child_env(stack.settings_for(command)), grace=grace)


def log_of(settings: Settings, command: str) -> Path:
    """Where a child writes what it has to say."""
    return settings.files.data_dir / "logs" / f"{command}.log"


def _variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def _variables() -> set[str]:
    names = (*Settings.public(), *ClientSettings.public())
    return {_variable(name) + end for name in names for end in ("", "_FILE")}
