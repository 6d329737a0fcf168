"""The parts of a soak: PostgreSQL, Valkey, simulator, intakes and workers, each intake and worker with its own wires.

A part that a fault killed is started again by `mend`; one that fell by itself is written down, and started again too.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil
import redis

from config.acl import OPS
from config.embedded.leash import Leash
from config.embedded.marks import children
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from config.embedded.process import Process, Program
from config.embedded.valkey import Valkey
from config.journal_roles import PROCESSES, url_as
from config.redis_keys import SPILL_RECORDS
from orders.access import clients
from orders.journal import connect
from tests.acceptance.running import QUICK
from tests.cli import clean_environment, command
from tests.machines.servers import SMALL, seed
from tests.machines.tools import ROOT
from tests.soak.wires import Wire

SPILL_KEY: Final = "shared by intakes and workers"
BACKEND: Final = "erp"
SEAL_KEY: Final = "5e" * 32
STARTING: Final = 15.0  # seconds


class Part:
    """A process of Relais, that can be started again and again."""

    def __init__(self, name: str, argv: tuple[str, ...], env: Mapping[str, str], log: Path, leash: Leash) -> None:
        self.name, self.log, self._argv, self._env, self._leash = name, log, argv, env, leash
        self.harmed = 0  # by how many faults just now
        self.torn = False  # while it started a process of it was killed: it may end itself, to be started again
        self._started = 0.0
        self.process: Process | None = None

    def start(self) -> None:
        """Start it; what is left of the one before ends."""
        self.stop()
        self.torn, self._started = False, time.monotonic()
        env = clean_environment(self._env)
        self.process = Process(Program(self.name, self._argv, self.log, env, grace=20.0))
        self._leash.hold(self.process.mark)

    def stop(self) -> None:
        """Tell it to stop, and leave nothing of it."""
        if self.process is not None:
            self.process.end()
            self._leash.drop(self.process.mark)
            self.process = None

    @property
    def starting(self) -> bool:
        """Whether it may not be whole yet."""
        return time.monotonic() - self._started < STARTING

    @property
    def runs(self) -> bool:
        """Whether it does."""
        return self.process is not None and self.process.poll() is None

    def pids(self) -> list[int]:
        """It and what it started, itself first."""
        if not self.runs or self.process is None:
            return []
        return [self.process.pid, *(mark.pid for mark in children(self.process.pid))]

    def signal(self, number: int, pids: list[int] | None = None) -> None:
        """Send a signal to some of its processes, by default to all."""
        for pid in self.pids() if pids is None else pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class Stack:
    """Everything that runs."""

    def __init__(self, data_dir: Path, leash: Leash) -> None:
        self.data_dir, self._leash = data_dir, leash
        self.book = data_dir / "erp-sim.jsonl"
        self.logs = data_dir / "soak-logs"
        self.logs.mkdir(parents=True)
        self.postgres, self.valkey = Postgres(data_dir, choose(), settings=SMALL), Valkey(data_dir, choose())
        self._erp, self._control = choose(), choose()
        self.wires: dict[str, Wire] = {}
        self.parts: dict[str, Part] = {}
        self.fell: list[str] = []
        self.urls: list[str] = []
        self.clocks = clock_library()

    async def start(self, intakes: int, workers: int) -> None:
        """Start all of it, and make the front ends' key."""
        await asyncio.to_thread(seed, self.data_dir)
        for server in (self.postgres, self.valkey):
            await asyncio.to_thread(server.start, self._leash)
        await self._admit()
        self._add(
            "sim", "erp-sim", "--port", str(self._erp), "--control-port", str(self._control), "--file", str(self.book)
        )
        for number in range(1, intakes + 1):
            await self._lay(f"api{number}", "pg", "redis")
            port = choose()
            self.urls.append(f"http://127.0.0.1:{port}")
            self._add(f"api{number}", "api", "--port", str(port))
        for number in range(1, workers + 1):
            await self._lay(f"worker{number}", "pg", "redis", "erp")
            self._add(f"worker{number}", "worker")
        for part in self.parts.values():
            await asyncio.to_thread(part.start)
        self.key = await self._key()

    async def _lay(self, part: str, *to: str) -> None:
        ports = {"pg": self.postgres.port, "redis": self.valkey.port, "erp": self._erp}
        for server in to:
            self.wires[f"{part}-{server}"] = await Wire(ports[server]).open()

    def _add(self, name: str, *words: str) -> None:
        self.parts[name] = Part(name, command(*words), self.env(name), self.logs / f"{name}.log", self._leash)

    def env(self, name: str = "") -> dict[str, str]:
        """The environment of a part, or, without a name, of an operator, who needs no wire."""

        def over(url: str, server: str, port: int) -> str:
            wire = self.wires.get(f"{name}-{server}")
            return url if wire is None else url.replace(f":{port}", f":{wire.port}")

        clock = {}
        if self.clocks and name.startswith(("api", "worker")):
            self.clock(name).write_text("+0")
            clock = {
                "LD_PRELOAD": str(self.clocks),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock(name)),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        process = next((each for each in PROCESSES if name.startswith(each)), OPS)
        journal = url_as(self.postgres.url, process, self.postgres.passwords()[process])
        return {
            **QUICK,
            **clock,
            "PYTHONPATH": f"{QUICK['PYTHONPATH']}:{ROOT}",
            "RELAIS_DATABASE_URL": over(journal, "pg", self.postgres.port),
            "RELAIS_REDIS_URL": over(self.valkey.url, "redis", self.valkey.port),
            "RELAIS_ERP_URL": over(f"http://127.0.0.1:{self._erp}", "erp", self._erp),
            "RELAIS_DATA_DIR": str(self.data_dir),
            "RELAIS_SPILL_KEY": SPILL_KEY,
            "RELAIS_SEAL_KEY": SEAL_KEY,
            "RELAIS_ANCHOR": str(self.data_dir / "anchors"),
            "RELAIS_WORKER_CONCURRENCY": "2",
        }

    async def _key(self) -> str:
        engine = connect(self.postgres.url)
        try:
            return await clients.add(engine, "front")
        finally:
            await engine.dispose()

    async def _admit(self) -> None:
        """Let the roles that own nothing use the journal, as an installation does."""
        roles = str(self.postgres.data_dir)
        code, said = await self.tell(
            "admin", "migrate", RELAIS_OWNER_URL=self.postgres.url, RELAIS_DATABASE_ROLES=roles
        )
        assert code == 0, said

    def clock(self, name: str) -> Path:
        """The file that tells a part by how much its wall clock is off."""
        return self.data_dir / f"clock-{name}"

    async def fit(self) -> None:
        """The ERP is fit again, once it hears it."""
        for _ in range(50):
            with suppress(OSError):
                await asyncio.to_thread(self.dial)
                return
            await asyncio.sleep(0.2)

    async def released(self) -> None:
        """An operator trusts the ERP again, if it was quarantined."""
        for _ in range(20):
            with suppress(OSError, asyncpg.PostgresError):
                if not await self.sql("SELECT 1 FROM backends WHERE quarantined"):
                    return
                await self.tell("release", "--because", "soak", "--yes")
            await asyncio.sleep(0.5)

    async def mend(self) -> None:
        """Start what fell by itself again, and write it down."""
        for part in self.parts.values():
            if not part.harmed and not part.runs:
                code = None if part.process is None else part.process.poll()
                if not part.torn:
                    self.fell.append(f"{part.name} ended by itself with {code}")
                await asyncio.to_thread(part.start)

    def dial(self, **knobs: object) -> None:
        """Turn the simulator's dial; knobs that are not named go back to their place. Raises OSError."""
        body = json.dumps(knobs).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._control}/_dial", body, method="PUT")
        with urllib.request.urlopen(request, timeout=10):
            pass

    async def tell(self, *words: str, **more: str) -> tuple[int, str]:
        """What `relais` says to an operator: exit code and output."""
        env = clean_environment({**self.env(), "RELAIS_OPERATOR": "soak", **more})
        run = await asyncio.create_subprocess_exec(
            *command(*words), env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            out, _ = await asyncio.wait_for(run.communicate(), 90)
        except TimeoutError:
            run.send_signal(signal.SIGKILL)
            await run.wait()
            return 2, "no answer within 90 s"
        return int(run.returncode or 0), out.decode()

    async def sql(self, statement: str, *arguments: Any) -> list[Any]:
        """Rows, straight from PostgreSQL as its owner."""
        connection = await asyncpg.connect(self.postgres.url, timeout=10, command_timeout=60)
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    def descriptors(self) -> dict[str, int]:
        """The most that one process of each intake and worker has open."""
        most = {}
        for name, part in self.parts.items():
            erp = self.wires[f"{name}-erp"].port if f"{name}-erp" in self.wires else None
            most[name] = max((_descriptors(pid, erp) for pid in part.pids()), default=0)
        del most["sim"]
        return most

    def spilled(self) -> int:
        """Records in the spill."""
        with redis.Redis.from_url(self.valkey.url, socket_timeout=5) as client:
            return int(client.llen(SPILL_RECORDS))

    def stop(self) -> None:
        """End everything."""
        for part in reversed(self.parts.values()):
            part.stop()
        for wire in self.wires.values():
            wire.close()
        for server in (self.valkey, self.postgres):
            server.stop()


def _descriptors(pid: int, erp: int | None) -> int:
    """Without the connections that are kept to the ERP, which come and go with the load."""
    try:
        process = psutil.Process(pid)
        kept = sum(bool(each.raddr) and each.raddr.port == erp for each in process.net_connections("tcp"))
        return process.num_fds() - kept
    except psutil.Error:
        return 0


def clock_library() -> Path | None:
    """Debian's libfaketime, where there is one: `make tools` gets it."""
    return next((ROOT / ".tools").glob("usr/lib/*/faketime/libfaketime.so.1"), None)
