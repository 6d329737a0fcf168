"""The leader's scheduler of one backend: what a tick of the dispatcher does, on the connection that holds the lead.

Rescue what ran out, give up what is no longer wanted, let an open circuit send its canary, ask about what the ERP
accepts later, steer the replay that runs, and dispatch what is due within the window and the backend's rate.
What does not concern a backend is in `workers.dispatch.maintenance`.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.settings import Settings
from orders.states import OUT, POLLED
from workers.backend_transitions import let_canary_go
from workers.delivery import retry_policy
from workers.delivery.order_log import tell_rows
from workers.dispatch.deaths import Dead
from workers.dispatch.journal_clock import JournalClock, undo
from workers.dispatch.publishing import Publishing
from workers.dispatch.take_due import DISPATCH, SPARE, UNBOUNDED
from workers.dispatch.token_bucket import Bucket
from workers.erp.outcomes import LEASE_EXPIRED
from workers.queue.names import MOST_IDS
from workers.replay.controller import PaceLimits, steer

log = logging.getLogger("relais.dispatcher")

TICK: Final = 1.0  # seconds between two rounds of housekeeping, and the longest pause of the dispatcher
ROUNDS: Final = 10  # dispatches in one tick at most: other backends are waiting for theirs
ORPHAN_GRACE: Final = 10.0  # further seconds for an unclaimed dispatch while messages are waiting in Redis

# The statements below know their path through the partial indexes; a planner without statistics would not. So each is
# planned once: the plan of a dispatch costs as much as half of its work.
PLANNER: Final = ("seqscan", "bitmapscan", "hashjoin", "mergejoin", "sort")

HELD_BY_DEAD: Final = "left(CAST(lease AS text), 8) = ANY(CAST(:dead AS text[]))"

RESCUE = text(f"""
WITH lost AS (
  SELECT order_id, state AS was, lease, lease_until, {retry_policy.TRIED} AS tried, {retry_policy.BLAMED} AS blamed,
    {retry_policy.DIES} AS dies, {retry_policy.TRIED} AND {HELD_BY_DEAD} AS died FROM deliveries
  WHERE backend = :backend AND {OUT} AND CASE WHEN {retry_policy.TRIED}
      THEN (:ran_out AND lease_until < clock_timestamp()) OR {HELD_BY_DEAD}
      ELSE lease_until < greatest(clock_timestamp() - make_interval(secs => :grace),
        CAST(:noticed AS timestamptz) + make_interval(secs => :patience)) END
  ORDER BY lease_until LIMIT 5000 FOR UPDATE SKIP LOCKED
), noted AS (
  INSERT INTO attempts (order_id, lease, started_at, ended_at, outcome, detail, worker)
  SELECT order_id, lease, lease_until - make_interval(secs => :lease), clock_timestamp(), '{LEASE_EXPIRED}',
    {retry_policy.TOLD}, '' FROM lost WHERE tried ON CONFLICT DO NOTHING
), freed AS (
  UPDATE deliveries d SET {retry_policy.RESCUE} FROM lost WHERE d.order_id = lost.order_id
)
SELECT order_id, (SELECT request_id FROM orders WHERE id = order_id), {retry_policy.RESCUED}, was FROM lost
""")

EXPIRE = text(f"""
UPDATE deliveries SET {retry_policy.EXPIRE}
WHERE order_id IN (
  SELECT order_id FROM deliveries WHERE backend = :backend AND {retry_policy.TOO_LATE}
  LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING order_id, (SELECT request_id FROM orders WHERE id = order_id), state
""")

POLL = text(f"""
UPDATE deliveries SET due_at = clock_timestamp() + make_interval(secs => :lease)
WHERE order_id IN (
  SELECT order_id FROM deliveries WHERE {POLLED} AND backend = :backend AND due_at <= clock_timestamp()
  ORDER BY backend, due_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING order_id
""")


# Polls that are out; whoever had popped them may be dead.
POLL_AGAIN = text(f"""
UPDATE deliveries SET due_at = clock_timestamp()
WHERE {POLLED} AND backend = :backend
  AND due_at > clock_timestamp() + make_interval(secs => {retry_policy.POLL_PAUSE})
""")


class Scheduler:
    """One leader's, of the backend of `settings`, on the connection that holds the lead."""

    def __init__(
        self, connection: AsyncConnection, settings: Settings, publisher: Publishing, clock: JournalClock
    ) -> None:
        """It starts with a round of housekeeping; `publisher` is the backend's, `clock` the process's."""
        self._connection = connection
        self._settings = settings
        self._publisher = publisher
        self._clock = clock
        self._bucket = Bucket()
        self._limits = PaceLimits()
        self._housekept = self._steered = float("-inf")
        self._queue_lost = False

    async def tick(self, dead: Dead) -> None:
        """One round; returns when nothing more can be dispatched now, or others have waited long enough."""
        if dead.noticed or time.monotonic() - self._housekept >= TICK:
            await self._housekeep(dead)
        if time.monotonic() - self._steered >= self._limits.again:
            await self._steer()
        for _ in range(ROUNDS):
            if not self._hungry() or len(await self._dispatch()) < SPARE:  # more are read of each line in any case
                break

    def _hungry(self) -> bool:
        """Whether the workers will soon want another message about this backend.

        A lone order is dispatched at once; while messages wait, orders gather for a larger one. Without this the
        window fills with messages of an order or two, and each that is settled makes room for another such.
        """
        if self._queue_lost:
            return False
        depth = self._publisher.depth()
        self._queue_lost = depth is None
        return depth is not None and depth < (2 * self._settings.worker.concurrency if self._wide() else 1)

    async def _dispatch(self) -> Sequence[Row[Any]]:
        allowance = self._bucket.allowance(time.monotonic())
        if not allowance:
            return []
        values = {
            "backend": self._settings.erp.backend,
            "patience": self._settings.delivery.claim_patience,
            "share": self._settings.replay.live_share,
            "allowance": min(allowance, UNBOUNDED),
        }
        most = MOST_IDS if self._wide() else self._settings.erp.concurrency
        rows = (await self._connection.execute(DISPATCH, values)).all()
        self._bucket.spend(len(rows))
        if rows and not self._publisher.deliver(rows, most):
            self._queue_lost = True
        return rows

    def _wide(self) -> bool:
        """Whether the window is wider than what the children can have with the ERP at once.

        Where it is not, the ERP is the bottleneck, and the window is what is in flight: a message holds no more than
        a child has hands for, and none is to wait for a child. A live order waits no longer for a child than for the
        ERP then. Large messages that wait save more than that only where the window is wide.
        """
        hands = self._settings.erp.concurrency * self._settings.worker.concurrency
        return self._limits.window > hands and self._limits.again == float("inf")

    async def _steer(self) -> None:
        """Take the replay that runs a stage on or back, and see how fast the backend may get orders."""
        self._steered = time.monotonic()
        self._limits = await steer(self._connection, self._settings)
        self._bucket.limit(self._limits.rate, self._steered)

    async def _housekeep(self, dead: Dead) -> None:
        """Rescue, canary and polls; and see whether a lost queue has come back."""
        self._housekept = time.monotonic()
        depth = self._publisher.depth()
        self._queue_lost = depth is None
        await self._clock.look(self._connection)
        await self._undo_step()
        await self._rescue(0.0 if depth == 0 else ORPHAN_GRACE, dead)
        await self._steer()
        here = {"backend": self._settings.erp.backend}
        tell_rows("expire", (await self._connection.execute(EXPIRE, here)).all(), self._settings.erp.backend)
        await let_canary_go(self._connection, self._settings.erp.backend)
        if dead.noticed:
            await self._connection.execute(POLL_AGAIN, here)
        if not self._queue_lost:
            await self._poll()

    async def _undo_step(self) -> None:
        """Of a clock that was set back, as far as one round allows."""
        backend, delivery = self._settings.erp.backend, self._settings.delivery
        lease = max(delivery.lease, delivery.claim_patience)
        if self._clock.is_behind(backend) and await undo(self._connection, backend, lease):
            self._clock.caught_up(backend)

    async def _rescue(self, grace: float, dead: Dead) -> None:
        answer = await self._connection.execute(
            RESCUE,
            {
                "backend": self._settings.erp.backend,
                "grace": grace,
                "dead": dead.prefixes,
                "noticed": dead.noticed,
                "ran_out": self._clock.leases_ran_out(self._settings.delivery.lease),
                **rescue_bounds(self._settings),
            },
        )
        rescued = answer.all()
        tell_rows("rescue", rescued, self._settings.erp.backend)
        for state, count in Counter(row.was for row in rescued).items():
            log.warning("rescued", extra={"orders": count, "state": state})

    async def _poll(self) -> None:
        values = {"backend": self._settings.erp.backend, "lease": self._settings.delivery.lease}
        ids = [row[0] for row in await self._connection.execute(POLL, values)]
        if ids:
            self._publisher.poll(ids)


def rescue_bounds(settings: Settings) -> dict[str, float]:
    """What a rescue goes by, but for who is dead."""
    bounds = settings.delivery
    return {
        "lease": bounds.lease,
        "patience": bounds.claim_patience,
        "max_attempts": bounds.max_attempts,
        "retry_after": bounds.retry_after,
        "retry_max": bounds.retry_max,
        "quiet": 0.0 if settings.erp.idempotent else settings.erp.timeout,
    }
