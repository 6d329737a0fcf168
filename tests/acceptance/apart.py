"""Relais taken apart: PostgreSQL, Valkey, the ERP simulator, intake and worker as real processes, each of which a
test can take away for as long as it likes; and a front end that never stops handing over orders and writes down what
it was told.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp

from config.acl import OPS
from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from config.embedded.process import Process
from config.embedded.service import Service
from config.embedded.valkey import Valkey
from orders.access import clients
from tests.acceptance.running import QUICK
from tests.cli import command, running
from tests.journal import Journal, orders_behind
from tests.machines.roles import login
from tests.machines.servers import SMALL, seed
from tests.waiting import auntil, until
from workers.erp.sim.book import read_effects
from workers.proof.audit import audit

MEDICINE = "3400937318044"
SPILL_KEY = "shared by intake and workers"


class Apart:
    """The parts, started one by one."""

    def __init__(self, data_dir: Path, leash: Leash) -> None:
        self._leash, self._stack = leash, ExitStack()
        self.logs: list[Path] = []
        self._processes: list[Process] = []
        self._book = data_dir / "erp-sim.jsonl"
        self._ports = [choose() for _ in range(3)]
        self.url, erp, self.control = (f"http://127.0.0.1:{port}" for port in self._ports)
        self.journal, broker = self.servers(data_dir)
        self.env = {
            **QUICK,
            "RELAIS_DATABASE_URL": login(self.journal, OPS),
            "RELAIS_REDIS_URL": broker,
            "RELAIS_ERP_URL": erp,
            "RELAIS_DATA_DIR": str(data_dir),
            "RELAIS_SPILL_KEY": SPILL_KEY,
            "RELAIS_API_URL": self.url,
            "RELAIS_WORKER_CONCURRENCY": "2",
        }
        self.key = Journal(self.journal)(lambda engine: clients.add(engine, "front"))

    def servers(self, data_dir: Path) -> tuple[str, str]:
        """Start PostgreSQL and Valkey; their URLs."""
        seed(data_dir)
        self.postgres, self.valkey = Postgres(data_dir, choose(), settings=SMALL), Valkey(data_dir, choose())
        for server in (self.postgres, self.valkey):
            self.hold(server)
        return self.postgres.url, self.valkey.url

    def restart_postgres(self, **settings: str) -> None:
        """Stop PostgreSQL, and start it on the same files and port with some settings of its own."""
        self.postgres.stop()
        self.postgres = Postgres(self.postgres.data_dir, self.postgres.port, settings=SMALL | settings)
        self.hold(self.postgres)

    def hold(self, server: Service) -> None:
        """Start a server that ends with the parts."""
        server.start(self._leash)
        self._stack.callback(server.stop)

    def sim(self, *options: str) -> Process:
        """Start the simulator."""
        ports = ("--port", str(self._ports[1]), "--control-port", str(self._ports[2]), "--file", str(self._book))
        return self.run("erp-sim", *ports, *options, ready="control")

    def worker(self) -> Process:
        """Start a worker."""
        return self.run("worker")

    def api(self) -> None:
        """Start the intake, on the same port each time."""
        self._api = self.run("api", "--port", str(self._ports[0]))

    def kill_api(self) -> None:
        """SIGKILL the intake."""
        self._api.kill()

    def run(self, name: str, *options: str, ready: str = "ready") -> Process:
        """Start a process of Relais; it ends with the rest."""
        process, log = self._stack.enter_context(
            running(self._leash, name, command(name, *options), self.env, ready=ready)
        )
        self.logs.append(log)
        self._processes.append(process)
        return process

    def stop_all(self) -> None:
        """Tell the processes to stop, and wait until they have."""
        for process in self._processes:
            process.end()

    def close(self) -> None:
        """End everything."""
        self._stack.close()

    def effects(self) -> Counter[UUID]:
        """How often each order took effect at the ERP."""
        return Counter(UUID(effect["id"]) for effect in read_effects(self._book))

    def delivered_once(self, told: dict[str, UUID], timeout: float = 90) -> None:
        """Every order that a client was told is safe is delivered, exactly once, and nothing else is."""
        until(lambda: sum(self.effects().values()) >= len(told), timeout, what="every order is with the ERP")
        until(self._balances, timeout, what="the ledger balances, with every order delivered")
        effects = self.effects()
        assert set(effects.values()) == {1}
        assert len(effects) == len(told)
        behind = Journal(self.journal)(lambda engine: orders_behind(engine, told.values()))
        assert {reference: behind[each][1] for reference, each in told.items()} == {each: each for each in told}
        assert {each: effects[behind[each][0]] for each in told.values()} == dict.fromkeys(told.values(), 1)

    def _balances(self) -> bool:
        ledger = Journal(self.journal)(audit)
        return bool(ledger.balanced and ledger.accepted == ledger.delivered)


@contextmanager
def apart(data_dir: Path, leash: Leash) -> Iterator[Apart]:
    """The parts, with simulator, intake and worker running."""
    parts = Apart(data_dir, leash)
    try:
        parts.sim()
        parts.api()
        parts.worker()
        yield parts
    finally:
        parts.close()


@dataclass
class FrontEnd:
    """Hands over orders, some at a time, until it is told to stop; asks again until each is safe."""

    url: str
    key: str
    hands: int = 12
    pause: float = 0.05  # seconds between two orders of one hand
    told: dict[str, UUID] = field(default_factory=dict)
    kept: Counter[str] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    times: list[tuple[float, float]] = field(default_factory=list)  # when it was asked, seconds to the answer
    _stopped: bool = False

    def stop(self) -> None:
        """Hand over nothing new."""
        self._stopped = True

    async def run(self) -> None:
        """Until stopped, and every order that was begun is safe."""
        timeout = aiohttp.ClientTimeout(total=30)
        headers = {"Authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            await asyncio.gather(*(self._hand(session, number) for number in range(self.hands)))

    async def _hand(self, session: aiohttp.ClientSession, hand: int) -> None:
        number = 0
        while not self._stopped:
            number += 1
            reference = f"H{hand}-{number}"
            lines = [{"product": MEDICINE, "quantity": 1 + number % 5}]
            order = {"pharmacy": f"P{hand:03}", "reference": reference, "lines": lines}
            await auntil(partial(self._place, session, order), 120, every=0.2, what=f"{reference} is safe")
            await asyncio.sleep(self.pause)

    async def _place(self, session: aiohttp.ClientSession, order: dict[str, object]) -> bool:
        began = time.monotonic()
        try:
            async with session.post(f"{self.url}/orders", json=order) as answer:
                content = await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False
        self.times.append((began, time.monotonic() - began))
        if answer.status not in (200, 202):
            self.refused[answer.status] += 1
            assert answer.status in (429, 503), content
            assert int(answer.headers["Retry-After"]) > 0
            return False
        self.kept[content["kept"]] += 1
        self.told[str(order["reference"])] = UUID(content["id"])
        return True

    def p99(self, since: float, until: float) -> float:
        """Seconds, of the answers to what was asked in between (monotonic times)."""
        taken = [took for began, took in self.times if since <= began < until]
        assert len(taken) > 100, "too few answers to speak of a p99"
        return statistics.quantiles(taken, n=100)[98]


@contextmanager
def load(parts: Apart, **options: Any) -> Iterator[FrontEnd]:
    """A front end at work in a thread of its own; when it is left, every order that it began is safe."""
    front = FrontEnd(parts.url, parts.key, **options)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(front.run())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        until(lambda: len(front.told) > 50 or failures, 30, what="orders flow")
        yield front
    finally:
        front.stop()
        thread.join(60)
    assert not thread.is_alive()
    assert failures == []
