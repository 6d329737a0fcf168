"""Measuring Relais: intake through HTTP into a journal with fsync on, then the drain of that very backlog.

The backlog is journalled while forwarding is paused; the drain begins when an operator resumes it, with the window
of a new backend, so the ramp is part of the drain. Afterwards the journal's audit and the sink must agree.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

import orders
from benchmarks.rig import PATIENCE, BenchmarkFailed, Meter, Rig
from benchmarks.watch import Sample, Watch, spans
from config.embedded.process import Process, module
from config.embedded.ready import answers
from config.settings import Settings
from orders.access import clients
from orders.journal import connect
from workers import operations
from workers.dispatch.leadership import LEADER_LOCK
from workers.proof.audit import audit

CATALOGUE = Path(orders.__file__).parent / "data" / "medicines.csv"
WINDOW_MAX = int(Settings.public()["window_max"][2].default)
RAMP = 2 * WINDOW_MAX  # orders: the window reaches its maximum within the first WINDOW_MAX, and fills once
WARM = 256  # orders that go ahead of the intake's clock; they are drained with the others
MARK = 100  # orders between two times that the sink tells

LEADS = text(f"""
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {LEADER_LOCK} AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")
UNSETTLED = text("SELECT count(*) FROM deliveries WHERE state <> 'delivered'")


@dataclass(frozen=True)
class Intake:
    """Orders a second answered 202, latencies, and processor time for each order by process (ms)."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: dict[str, float]


@dataclass(frozen=True)
class Drain:
    """Orders a second between the first and the last POST; monotonic times (s) of every MARK-th; what was sampled."""

    rate: float
    marks: list[float]
    first: float
    resumed_after: float
    cpu_ms: dict[str, float]
    samples: list[Sample]

    def tenths(self, skip: int) -> list[float]:
        """Microseconds that an order took in each tenth, the first `skip` orders left out."""
        return spans(self.first, self.marks, MARK, skip)


@dataclass(frozen=True)
class RelaisRound:
    """One round on a journal of its own."""

    orders: int
    intake: Intake
    drain: Drain


def measure(rig: Rig, orders: int) -> RelaisRound:
    """Hand over, drain and check. BenchmarkFailed when an order is missing or came twice."""
    rig.flush()
    rig.sink.reset()
    with rig.journal() as url:
        settings = _settings(rig, url)
        taken = _take_in(rig, orders, url, settings)
        journal(url, lambda engine: operations.pause(engine, settings, settings.erp.backend, "benchmark"))
        drained = _drain(rig, orders, url, settings)
    return RelaisRound(orders, taken, drained)


def _take_in(rig: Rig, orders: int, url: str, settings: Settings) -> Intake:
    port = rig.port()
    argv = module("workers.cli", "api", "--port", str(port))
    ready = answers(f"http://127.0.0.1:{port}/readyz")
    key = journal(url, lambda engine: clients.add(engine, "bench"))
    with rig.running("api", argv, _environment(settings), ready) as api:
        meter = Meter(orders, api=api.pid, postgres=rig.postgres.pid)
        (sent,) = rig.together([module("benchmarks.submit", str(orders), str(WARM), str(port))], {"BENCH_KEY": key})
        used = {"front_end": sent["cpu"] / orders * 1e3, **meter.read()}
    if sent["refused"]:
        raise BenchmarkFailed(f"the intake answered other than 202: {sent['refused']}")
    rate = (orders - WARM) / (sent["ended"] - sent["began"])
    return Intake(rate, sent["p50_ms"], sent["p99_ms"], used)


def _drain(rig: Rig, orders: int, url: str, settings: Settings) -> Drain:
    with rig.running("worker", module("workers.cli", "worker"), _environment(settings)) as worker:
        _await(url, LEADS, 1, worker)
        pids = {"postgres": rig.postgres.pid, "valkey": rig.valkey.pid, "sink": rig.sink_pid}
        meter = Meter(orders, worker=worker.pid, **pids)
        with Watch(rig.sink, worker.pid, rig.postgres.pid) as watch:
            resumed = time.monotonic()
            journal(url, lambda engine: operations.resume(engine, settings, settings.erp.backend, "benchmark"))
            rig.sink.await_orders(orders)
        used = meter.read()
        _await(url, UNSETTLED, 0, worker)
        journal(url, lambda engine: _check(engine, orders))
        seen = rig.sink.marks(MARK)
    if seen["posts"] != orders:
        raise BenchmarkFailed(f"the sink saw {seen['posts']} posts of {orders} orders")
    rate = (orders - 1) / (seen["last"] - seen["first"])
    return Drain(rate, seen["marks"], seen["first"], seen["first"] - resumed, used, watch.samples)


async def _check(engine: AsyncEngine, orders: int) -> None:
    ledger = await audit(engine)
    if not ledger.balanced or (ledger.accepted, ledger.delivered) != (orders, orders):
        raise BenchmarkFailed(f"the ledger does not hold {orders} delivered orders: {ledger}")


def journal(url: str, act: Callable[[AsyncEngine], Awaitable[Any]]) -> Any:
    """Do one thing with an engine of its own."""

    async def once() -> Any:
        engine = connect(url, pool=2, timeout=300)
        try:
            return await act(engine)
        finally:
            await engine.dispose()

    return asyncio.run(once())


def _await(url: str, query: Any, wanted: int, worker: Process) -> None:
    """Poll the journal until a count is what is wanted; BenchmarkFailed when the worker ends or time does."""

    async def poll(engine: AsyncEngine) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            async with engine.connect() as connection:
                count = (await connection.execute(query)).scalar_one()
            if count == wanted:
                return
            if worker.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkFailed(f"{count} instead of {wanted}: {query}")
            await asyncio.sleep(0.1)

    journal(url, poll)


def _settings(rig: Rig, url: str) -> Settings:
    """Default settings but for the addresses, and the catalogue that every order is validated against."""
    chosen: dict[str, Any] = {
        "database_url": url,
        "redis_url": rig.valkey.url,
        "erp_url": rig.sink.url,
        "data_dir": rig.home,
        "catalogue": CATALOGUE,
        "log_level": "WARNING",
    }
    return Settings(**chosen)


def _environment(settings: Settings) -> dict[str, str]:
    """The settings that are not the default, as a process reads them."""
    return {f"RELAIS_{name.upper()}": str(settings.value(name)) for name in settings.given()}
