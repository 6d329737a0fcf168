"""A whole Relais for a test: `relais up` with real children, a front end that keeps its receipts, and the means to
kill what runs and to compare what the ERP holds with what was promised.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import aiohttp
import psutil
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.leash import Leash
from config.embedded.marks import Mark, birth
from config.redis_keys import SPILL_RECORDS
from config.settings import Settings
from orders.access import clients
from orders.journal import connect, unreachable
from orders.queries import backends as backend_rows
from orders.queries import orders as order_queries
from orders.rules.catalogue import demo_catalogue
from tests.constants.turned import SOON, turned
from tests.journal import orders_behind
from tests.machines.servers import seed
from tests.waiting import auntil, until
from workers.erp.sim.book import read_effects
from workers.proof.audit import Ledger, Proof, audit, prove

T = TypeVar("T")

QUICK = {
    **turned(**SOON),
    "RELAIS_CLIENT_RATE": "1000000",
    "RELAIS_RETRY_AFTER": "0.5",
    "RELAIS_ERP_TIMEOUT": "2",
    "RELAIS_BATCH_BUDGET": "6",
    "RELAIS_LEASE": "10",
    "RELAIS_CLAIM_PATIENCE": "2",
    "RELAIS_SEAL_EVERY": "2",
}
PORTS = {f"RELAIS_{name}_PORT": "0" for name in ("API", "CONSOLE", "FLOWER", "EXPORTER", "ERP_SIM")}


class Relais:
    """One running `relais up` on a data directory of its own."""

    def __init__(self, data_dir: Path, env: Mapping[str, str]) -> None:
        self.data_dir, self._env = data_dir, env
        self._references = itertools.count()
        self._products = list(demo_catalogue())

    def start(self, hold: Callable[[int], None]) -> None:
        """Start and wait until it says where everything is; `hold` ties its life to the test run's."""
        self.process = self._run("up", hold)
        until(lambda: self._is_up() or self.process.poll() is not None, 60, what="relais up")
        assert self.process.poll() is None, (self.data_dir / "up.log").read_text()[-3000:]
        self.endpoints: dict[str, Any] = json.loads((self.data_dir / "endpoints.json").read_text())
        self.key = self.journal(lambda engine: clients.add(engine, "front"))

    def another_worker(self, hold: Callable[[int], None]) -> subprocess.Popen[bytes]:
        """A second worker beside the supervised one."""
        return self._run("worker", hold)

    def _run(self, command: str, hold: Callable[[int], None]) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RELAIS_")}
        with (self.data_dir / f"{command}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers.cli", "--data-dir", str(self.data_dir), command],
                env={**kept, **QUICK, **PORTS, **self._env},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        hold(process.pid)
        return process

    def _is_up(self) -> bool:
        return (self.data_dir / "endpoints.json").exists()

    def stop(self) -> int:
        """Stop it as Ctrl-C does and return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def journal(self, work: Callable[[AsyncEngine], Awaitable[T]]) -> T:
        """Do something with the journal; what a test has just killed may be recovering still."""

        async def run() -> list[T]:
            engine = connect(self.endpoints["owner_url"], timeout=20)
            try:
                return [await work(engine)]
            except Exception as error:
                if not unreachable(error):
                    raise
                return []
            finally:
                await engine.dispose()

        return until(lambda: asyncio.run(run()), 60, 0.2, "the journal answers")[0]

    # What runs.

    def pid(self, name: str) -> int:
        """The pid of a part, as the supervisor recorded it; 0 while it is being restarted."""
        record = json.loads((self.data_dir / "run.json").read_text())
        return next((int(mark["pid"]) for mark in record["processes"] if mark["name"] == name), 0)

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to one part; returns the pid it had."""
        pid = self.pid(name)
        os.kill(pid, how)
        return pid

    def restarted(self, name: str, before: int, timeout: float = 40) -> None:
        """Wait until the supervisor has put another process in its place."""
        until(lambda: self.pid(name) not in (0, before), timeout, what=f"a new {name}")

    def worker_children(self) -> list[int]:
        """The processes of the worker's pool."""
        return [child.pid for child in psutil.Process(self.pid("worker")).children()]

    def worked(self) -> set[int]:
        """The processes of workers, those that are gone too, that have tried an order."""

        async def ask(engine: AsyncEngine) -> set[int]:
            async with engine.connect() as connection:
                rows = await connection.execute(text("SELECT DISTINCT worker FROM attempts WHERE worker <> ''"))
                return {int(row[0].rpartition(":")[2]) for row in rows}

        return self.journal(ask)

    def tell(self, *words: str, operator: str) -> str:
        """What a command line says to this operator; it has to go well."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RELAIS_")}
        argv = [sys.executable, "-m", "workers.cli", "--data-dir", str(self.data_dir), *words]
        env = {**kept, **QUICK, **self._env, "RELAIS_OPERATOR": operator}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # The simulator.

    def dial(self, **knobs: object) -> None:
        """Turn the simulator's dial; knobs that are not named go back to their place."""
        body = json.dumps(knobs).encode()
        request = urllib.request.Request(f"{self.endpoints['erp_control_url']}/_dial", body, method="PUT")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def effects(self) -> Counter[UUID]:
        """How often each order took effect at the ERP, from the simulator's own file."""
        return Counter(UUID(effect["id"]) for effect in read_effects(self.data_dir / "erp-sim.jsonl"))

    # The front end.

    def orders(self, count: int, **fields: object) -> list[dict[str, Any]]:
        """Orders for real medicines."""
        made = []
        for number in itertools.islice(self._references, count):
            chosen = [self._products[(number * 7 + line * 131) % len(self._products)] for line in range(1 + number % 6)]
            lines = [{"product": product, "quantity": 1 + number % 5} for product in dict.fromkeys(chosen)]
            pharmacy, reference = f"P{number % 1800:04}", f"T{number}"
            made.append({"pharmacy": pharmacy, "reference": reference, "lines": lines, **fields})
        return made

    def submit(self, count: int, **fields: object) -> list[UUID]:
        """Hand over orders as a front end does, and return the ids that were answered 200 or 202."""
        return asyncio.run(self.hand_over(self.orders(count, **fields)))

    async def hand_over(self, orders: Sequence[dict[str, Any]], patience: float = 60) -> list[UUID]:
        """Every order until it is answered 200 or 202, asking again on 503 and lost connections."""
        headers = {"Authorization": f"Bearer {self.key}"}
        waiting = asyncio.Semaphore(32)
        async with aiohttp.ClientSession(headers=headers) as session:

            async def one(order: dict[str, Any]) -> UUID | None:
                try:
                    async with session.post(f"{self.endpoints['api_url']}/orders", json=order) as answer:
                        assert answer.status in (200, 202, 503), await answer.text()
                        return UUID((await answer.json())["id"]) if answer.status != 503 else None
                except (aiohttp.ClientError, OSError):
                    return None

            async def surely(order: dict[str, Any]) -> UUID:
                async with waiting:
                    accepted = await auntil(lambda: one(order), patience, 0.1, "an order accepted")
                assert accepted is not None
                return accepted

            return list(await asyncio.gather(*(surely(order) for order in orders)))

    # What became of it all.

    def states(self) -> dict[str, int]:
        """Deliveries by state."""
        return self.journal(order_queries.counts)

    def circuit(self) -> str:
        """The backend's circuit."""
        return str(self.journal(backend_rows.standing)[0]["circuit"])

    def delivered_once(self, ids: Sequence[UUID], timeout: float = 60) -> Ledger:
        """Wait until nothing is in the spill and the backlog, then prove that each order took effect exactly once."""
        until(lambda: not self.spilled() and self.journal(order_queries.backlog_size) == 0, timeout, 0.2, "all drained")
        effects = self.effects()
        behind = self.journal(lambda engine: orders_behind(engine, ids))
        assert {each: effects[order] for each, (order, _) in behind.items() if effects[order] != 1} == {}
        assert max(effects.values()) == 1
        ledger = self.journal(audit)
        assert ledger.balanced, ledger
        assert self.states()["dead"] == 0
        assert self.proof().faults == []
        return ledger

    def spilled(self) -> int:
        """Records that wait in Redis for the journal, -1 where it does not answer."""
        with suppress(redis.RedisError), redis.Redis.from_url(self.endpoints["redis_urls"]["admin"]) as client:
            return int(client.llen(SPILL_RECORDS))
        return -1

    def proof(self) -> Proof:
        """The audit in full: the chain of seals beside its anchor too."""
        offered = {name: self.endpoints[name] for name in ("database_url", "seal_key", "anchor")}
        return self.journal(lambda engine: prove(engine, Settings(**offered, _env_file=None)))

    def most_attempts(self) -> int:
        """The largest number of attempts that any order was charged."""

        async def ask(engine: AsyncEngine) -> int:
            async with engine.connect() as connection:
                return int((await connection.execute(text("SELECT max(attempts) FROM deliveries"))).scalar_one())

        return self.journal(ask)


@contextmanager
def up(leash: Leash, **env: str) -> Iterator[Relais]:
    """A whole Relais with these settings too, as a process on the leash.

    Its data are not in pytest's own directory, which another run of pytest closes to PostgreSQL's user as it begins.
    """
    data_dir = Path(tempfile.mkdtemp(prefix="relais-test-"))
    seed(data_dir)
    relais = Relais(data_dir, env)
    relais.start(lambda pid: leash.hold(Mark("relais up", pid, birth(pid), grace=20)))
    try:
        yield relais
    finally:
        code = relais.stop()
        refused = refusals(data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)
    assert (code, refused) == (0, [])


def refusals(data_dir: Path) -> list[str]:
    """What PostgreSQL refused a process of this data directory, whose role has less than its statements need."""
    said = (data_dir / "logs" / "postgres.log").read_text(encoding="utf-8", errors="replace")
    return re.findall(r"ERROR: +(permission denied .*|only a worker .*|a change of .*)", said)


def left_running(data_dir: Path) -> list[str]:
    """Command lines of processes that still have to do with a data directory."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(data_dir) in line and process.pid != os.getpid():
            found.append(line)
    return found


def sql(relais: Relais, statement: str) -> list[Any]:
    async def work(engine: AsyncEngine) -> list[Any]:
        async with engine.connect() as connection:
            done = await connection.execute(text(statement))
            return list(done.all()) if done.returns_rows else []

    return relais.journal(work)


@contextmanager
def load(relais: Relais, count: int, patience: float = 60) -> Iterator[list[UUID]]:
    """Hand over orders in the background while the body does harm; on leaving, all have been answered."""
    accepted: list[UUID] = []

    def run() -> None:
        accepted.extend(asyncio.run(relais.hand_over(relais.orders(count), patience)))

    thread = threading.Thread(target=run)
    thread.start()
    yield accepted
    thread.join(patience + 60)
    assert len(accepted) == count
