"""The dispatcher: the one mechanism that turns due deliveries into dispatches, within the window.

It runs as a thread in every worker's main process; whoever holds the advisory lock leads, on the same connection
that does the work, so a leader that loses the journal has lost the lead. Woken by NOTIFY, it ticks at most a second
apart: rescue what ran out, let an open circuit send its canary, dispatch what is due, urgent and nearest first.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.settings import Settings
from orders.journal import DUE_CHANNEL, connect, unreachable
from workers.operations import register

log = logging.getLogger("relais.dispatcher")

LEADER_LOCK: Final = 0x52454C42
COALESCE: Final = 0.01  # seconds in which further wake-ups join the same tick
ORPHAN_GRACE: Final = 55.0  # further seconds for a dispatch while messages are waiting in Redis

FROZEN: Final = "10s"  # of silence, after which PostgreSQL ends a leader's session and frees the lead

# The statements below know their path through the partial indexes; a planner without statistics would not.
PLANNER: Final = ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "sort")

RESCUE = text("""
WITH lost AS (
  SELECT order_id, state, lease, attempts FROM deliveries
  WHERE backend = :backend AND state IN ('dispatched', 'delivering') AND lease_until < clock_timestamp()
    AND (state = 'delivering' OR lease_until < clock_timestamp() - make_interval(secs => :grace))
  ORDER BY lease_until LIMIT 5000 FOR UPDATE SKIP LOCKED
), tried AS (
  INSERT INTO attempts (order_id, lease, started_at, ended_at, outcome, detail, worker)
  SELECT order_id, lease, clock_timestamp() - make_interval(secs => :lease), clock_timestamp(), 'lease_expired',
    'the worker did not settle in time', '' FROM lost WHERE state = 'delivering' ON CONFLICT DO NOTHING
), freed AS (
  UPDATE deliveries d SET lease = NULL, lease_until = NULL, due_at = now(),
    state = CASE WHEN lost.state = 'delivering' AND d.attempts >= :max_attempts THEN 'dead' ELSE 'accepted' END,
    reason = CASE WHEN lost.state = 'delivering' AND d.attempts >= :max_attempts THEN 'exhausted' END,
    settled_at = CASE WHEN lost.state = 'delivering' AND d.attempts >= :max_attempts THEN now() END,
    error = CASE WHEN lost.state = 'delivering' THEN 'the worker did not settle in time' ELSE d.error END
  FROM lost WHERE d.order_id = lost.order_id
)
SELECT state, count(*) FROM lost GROUP BY state
""")

HALF_OPEN = text("""
UPDATE backends SET circuit = 'half_open', changed_at = clock_timestamp()
WHERE name = :backend AND circuit = 'open' AND probe_at <= clock_timestamp() AND NOT paused AND NOT quarantined
  AND EXISTS (SELECT FROM deliveries WHERE state = 'accepted' AND backend = :backend AND due_at <= now())
""")

DISPATCH = text("""
WITH room AS (
  SELECT CASE WHEN b.paused OR b.quarantined OR b.circuit = 'open' THEN 0
    ELSE CASE b.circuit WHEN 'half_open' THEN 1 ELSE b."window" END - (
      SELECT count(*) FROM deliveries WHERE backend = b.name AND state IN ('dispatched', 'delivering'))
    END AS orders
  FROM backends b WHERE b.name = :backend
), due AS (
  SELECT order_id FROM deliveries
  WHERE state = 'accepted' AND backend = :backend AND due_at <= clock_timestamp()
  ORDER BY backend, priority, cut_off, order_id
  LIMIT (SELECT greatest(orders, 0) FROM room) FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d
SET state = 'dispatched', lease_until = clock_timestamp() + make_interval(secs => :patience)
FROM due WHERE d.order_id = due.order_id
RETURNING d.order_id, d.priority, CAST(extract(epoch FROM d.cut_off) AS float8) AS cut_off, d.attempts, d.accepted_at
""")

POLL = text("""
UPDATE deliveries SET due_at = clock_timestamp() + make_interval(secs => :lease)
WHERE order_id IN (
  SELECT order_id FROM deliveries WHERE state = 'submitted' AND backend = :backend AND due_at <= clock_timestamp()
  ORDER BY backend, due_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING order_id
""")


class Publisher(Protocol):
    """The queue, as the dispatcher needs it (`workers.publishing`); calls are bounded in time."""

    def deliver(self, rows: Sequence[Row[Any]]) -> bool:
        """Publish dispatches for these deliveries; False when the queue may not have taken them."""
        ...

    def poll(self, ids: Sequence[Any]) -> bool:
        """Publish polls of these orders."""
        ...

    def depth(self) -> int | None:
        """Messages waiting in the queues; None when the queue is out of reach."""
        ...


class Dispatcher:
    """One candidate for the lead. `start` and `stop` from any thread."""

    def __init__(self, settings: Settings, publisher: Callable[[], Publisher]) -> None:
        """`publisher` is called in the dispatcher's own thread."""
        self._settings = settings
        self._publisher = publisher
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Begin to stand for the lead."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Give up the lead; waits at most `timeout` seconds for a tick to end."""
        self._stopping.set()
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._wake.set)
        self._thread.join(timeout)

    def _run(self) -> None:
        asyncio.run(self._stand())

    async def _stand(self) -> None:
        """Stand for the lead until stopped, whatever happens to the journal."""
        self._loop = asyncio.get_running_loop()
        engine = connect(self._settings.need("database_url"), pool=1)
        while not self._stopping.is_set():
            try:
                async with engine.connect() as connection:
                    await self._candidate(connection)
            except Exception as error:
                if unreachable(error):
                    log.warning("the journal is out of reach, standing again error=%s", type(error).__name__)
                else:
                    log.exception("tick failed")
            await self._pause(self._settings.tick)
        await engine.dispose()

    async def _candidate(self, connection: AsyncConnection) -> None:
        while not self._stopping.is_set():
            query = text("SELECT pg_try_advisory_lock(:key)")
            if (await connection.execute(query, {"key": LEADER_LOCK})).scalar_one():
                await self._lead(connection)
            await self._pause(self._settings.tick)

    async def _lead(self, connection: AsyncConnection) -> None:
        log.info("leading backend=%s", self._settings.backend)
        await self._listen(connection)
        await register(connection, self._settings.backend)
        term = Term(connection, self._settings, self._publisher())
        while not self._stopping.is_set():
            self._wake.clear()
            await term.tick()
            await self._pause(self._settings.tick)
            await asyncio.sleep(COALESCE)
        await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LEADER_LOCK})

    async def _listen(self, connection: AsyncConnection) -> None:
        await connection.execute(text(f"SET idle_session_timeout = '{FROZEN}'"))
        for setting in PLANNER:
            await connection.execute(text(f"SET enable_{setting} = off"))
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.add_listener(DUE_CHANNEL, lambda *_: self._wake.set())

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)


class Term:
    """One leader's term: the work of a tick, on the connection that holds the lead."""

    def __init__(self, connection: AsyncConnection, settings: Settings, publisher: Publisher) -> None:
        """A term starts with a round of housekeeping."""
        self._connection = connection
        self._settings = settings
        self._publisher = publisher
        self._housekept = float("-inf")
        self._queue_lost = False

    async def tick(self) -> None:
        """One round; returns when nothing more can be dispatched now."""
        if time.monotonic() - self._housekept >= self._settings.tick:
            await self._housekeep()
        while self._hungry():
            if len(await self._dispatch()) < self._settings.dispatch_size:
                break

    def _hungry(self) -> bool:
        """Whether the workers will soon want another message.

        A lone order is dispatched at once; while messages wait, orders gather for a larger one. Without this the
        window fills with messages of an order or two, and each that is settled makes room for another such.
        """
        if self._queue_lost:
            return False
        depth = self._publisher.depth()
        self._queue_lost = depth is None
        return depth is not None and depth < 2 * self._settings.worker_concurrency

    async def _dispatch(self) -> Sequence[Row[Any]]:
        values = {"backend": self._settings.backend, "patience": self._settings.claim_patience}
        rows = (await self._connection.execute(DISPATCH, values)).all()
        if rows and not self._publisher.deliver(rows):
            self._queue_lost = True
        return rows

    async def _housekeep(self) -> None:
        """Rescue, canary and polls; and see whether a lost queue has come back."""
        self._housekept = time.monotonic()
        depth = self._publisher.depth()
        self._queue_lost = depth is None
        await self._rescue(0.0 if depth == 0 else ORPHAN_GRACE)
        await self._connection.execute(HALF_OPEN, {"backend": self._settings.backend})
        if not self._queue_lost:
            await self._poll()

    async def _rescue(self, grace: float) -> None:
        rescued = await self._connection.execute(RESCUE, {
            "backend": self._settings.backend, "grace": grace, "lease": self._settings.lease,
            "max_attempts": self._settings.max_attempts,
        })  # fmt: skip
        for state, count in rescued:
            log.warning("rescued orders=%d state=%s", count, state)

    async def _poll(self) -> None:
        values = {"backend": self._settings.backend, "lease": self._settings.lease}
        ids = [row[0] for row in await self._connection.execute(POLL, values)]
        if ids:
            self._publisher.poll(ids)
