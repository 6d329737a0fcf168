"""The stage: a whole `relais up` in processes of its own, what may be done to it, and its end.

Nothing is touched but what it started itself: parts are known by pid and creation time, from the supervisor's own
record. A watchdog ends it all should this process be killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.holding import RUN
from config.embedded.leash import Leash
from config.embedded.marks import Mark, find
from config.embedded.process import Process, Program, module, module_env
from config.embedded.service import until_ready
from config.redis import RedisError, open_redis
from config.settings import ENDPOINTS
from orders.journal import connect
from workers.demo.pharmacies import Planned
from workers.erp.sim import Dial, Effect, read_effects

START: Final = 60.0  # s until everything is up
STOP: Final = 20.0  # s before a stop becomes less kind
CATALOGUE: Final = Path(str(files("orders"))) / "data" / "medicines.csv"
KEEPSAKE: Final = "relais-demo:keepsake"

QUICK: Final = {
    "RELAIS_ERP_TIMEOUT": "2",
    "RELAIS_BATCH_BUDGET": "8",
    "RELAIS_LEASE": "15",
    "RELAIS_CLAIM_PATIENCE": "2",
    "RELAIS_WORKER_CONCURRENCY": "2",
    "RELAIS_API_PORT": "0",
    "RELAIS_FLOWER_PORT": "0",
    "RELAIS_EXPORTER_PORT": "0",
    "RELAIS_CONSOLE_PORT": "0",
    "RELAIS_ERP_SIM_PORT": "0",
}


class DemoInstallation:
    """One Relais on a data directory of its own, before the simulator of `relais up`; `close` stops all of it."""

    starts = "PostgreSQL, Valkey, an ERP simulator, Flower, console, worker and intake"
    leaves = "logs/, erp-sim.jsonl, postgres/"
    account = "the ERP's own file"
    own: Sequence[str] = ("database_url", "redis_url", "erp_url")  # what `relais up` has to have started itself

    def __init__(self, data_dir: Path) -> None:
        """Nothing runs before `open`; what is put into `env` by then holds."""
        self.place = data_dir
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RELAIS_")}
        self.env = module_env({**kept, **QUICK, "RELAIS_CATALOGUE": str(CATALOGUE)})
        self.leash = Leash()
        self._process: Process | None = None
        self.endpoints: dict[str, Any] = {}

    async def open(self) -> None:
        """Start everything and return when it is ready. Raises StartFailed."""
        log = self.place / "logs" / "up.log"
        self._process = Process(Program("relais up", self._argv("up"), log, self.env, grace=STOP))
        self.leash.hold(self._process.mark)
        await until_ready(self._process, self._announced, START)
        self.endpoints = json.loads((self.place / ENDPOINTS).read_text(encoding="utf-8"))
        if foreign := [name for name in self.own if name not in self.endpoints["embedded"]]:
            raise RuntimeError(f"a .env file names a {foreign[0]}: the demo plays with services of its own only")

    async def _announced(self) -> bool:
        return (self.place / ENDPOINTS).exists()

    def close(self) -> None:
        """Stop everything; harmless when nothing runs. Interrupted, it leaves the rest to the watchdog."""
        try:
            if self._process is not None:
                self._process.end()
                self.leash.drop(self._process.mark)
                self._process = None
        finally:
            self.leash.close()

    @property
    def ended(self) -> bool:
        """True when `relais up` itself is gone, which ends the play."""
        return self._process is None or self._process.poll() is not None

    async def effects(self, orders: Mapping[UUID, Planned]) -> Iterable[Effect]:
        """What the ERP took, by its own account; `orders` are those that were answered 202."""
        return read_effects(self.place / "erp-sim.jsonl")

    def journal(self) -> AsyncEngine:
        """An engine on the journal; the caller disposes of it."""
        return connect(self.endpoints["database_url"], pool=2, timeout=20)

    async def command(self, *words: str) -> tuple[int, str]:
        """Run a command of this Relais, as whoever operates it: its exit code and what it said on stdout."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self._argv(*words), env=self.env, stdout=pipe, stderr=pipe)
        said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()

    def _argv(self, *words: str) -> tuple[str, ...]:
        return module("workers.cli", "--data-dir", str(self.place), *words)

    async def dial(self, dial: Dial) -> None:
        """Set every knob of the ERP's dial."""
        url, timeout = f"{self.endpoints['erp_control_url']}/_dial", aiohttp.ClientTimeout(total=10)
        headers = {"Content-Type": "application/json"}
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.put(url, data=dial.model_dump_json(), headers=headers) as answer,
        ):
            await answer.read()

    def parts(self) -> dict[str, Mark]:
        """The parts that run now, by name, from the supervisor's record."""
        with suppress(OSError, ValueError):
            record = json.loads((self.place / RUN).read_text(encoding="utf-8"))
            marks = [Mark.from_json(fields) for fields in record.get("processes", [])]
            return {mark.name: mark for mark in marks if find(mark) is not None}
        return {}

    def kill(self, name: str) -> Mark:
        """SIGKILL a part and all processes of its own; returns what it was."""
        mark = self.parts()[name]
        if os.getpgid(mark.pid) != mark.pid:
            raise RuntimeError(f"{name} does not lead its group")
        os.killpg(mark.pid, signal.SIGKILL)
        return mark

    async def ruin_redis(self) -> Mark:
        """Leave a keepsake in Redis, delete its append-only files, and kill it; returns what it was."""
        async with open_redis(self.endpoints["redis_urls"]["admin"], 5) as client:
            await client.set(KEEPSAKE, "will it be there?")
        await asyncio.to_thread(shutil.rmtree, self.place / "valkey" / "appendonlydir")
        return self.kill("valkey")

    async def redis_is_empty(self) -> bool | None:
        """Whether Redis answers and has lost the keepsake; None while it does not answer."""
        try:
            async with open_redis(self.endpoints["redis_urls"]["admin"], 2) as client:
                return not await client.exists(KEEPSAKE)
        except (RedisError, OSError):
            return None
