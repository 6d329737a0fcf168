"""A leader's term over one backend: what a tick of the dispatcher does, on the connection that holds the lead.

Rescue what ran out, give up what is no longer wanted, let an open circuit send its canary, ask about what the ERP
accepts later, steer the replay that runs, and dispatch what is due within the window and the backend's rate.
What does not concern a backend is in `workers.dispatch.maintenance`.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.settings import Settings
from workers.delivery.order_log import tell_rows
from workers.dispatch.take_due import DISPATCH, UNBOUNDED
from workers.dispatch.token_bucket import Bucket
from workers.queue.names import MOST_IDS
from workers.replay.controller import PaceLimits, steer

if TYPE_CHECKING:
    from workers.queue.publisher import Publisher

log = logging.getLogger("relais.dispatcher")

TICK: Final = 1.0  # seconds between two rounds of housekeeping, and the longest pause of the dispatcher
ROUNDS: Final = 10  # dispatches in one tick at most: other backends are waiting for theirs
ORPHAN_GRACE: Final = 10.0  # further seconds for an unclaimed dispatch while messages are waiting in Redis

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
    error = CASE WHEN lost.state = 'delivering' THEN 'the worker did not settle in time' ELSE d.error END,
    status = CASE WHEN lost.state <> 'delivering' THEN d.status END
  FROM lost WHERE d.order_id = lost.order_id
)
SELECT order_id, (SELECT request_id FROM orders WHERE id = order_id),
  CASE WHEN state = 'delivering' AND attempts >= :max_attempts THEN 'dead' ELSE 'accepted' END, state AS was FROM lost
""")

# What may be with the ERP is left to a worker, which asks first.
EXPIRE = text("""
UPDATE deliveries SET state = 'dead', reason = 'expired', settled_at = now(), status = NULL,
  error = 'valid_until: this time passed before it was forwarded'
WHERE order_id IN (
  SELECT order_id FROM deliveries
  WHERE backend = :backend AND state = 'accepted' AND NOT unsure AND valid_until < clock_timestamp()
  LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING order_id, (SELECT request_id FROM orders WHERE id = order_id), state
""")

HALF_OPEN = text("""
UPDATE backends SET circuit = 'half_open', changed_at = clock_timestamp()
WHERE name = :backend AND circuit = 'open' AND probe_at <= clock_timestamp() AND NOT paused AND NOT quarantined
  AND (EXISTS (SELECT FROM deliveries d
      WHERE d.state = 'accepted' AND d.turn = 0 AND d.backend = :backend AND d.due_at <= now())
    OR EXISTS (SELECT FROM deliveries d
      WHERE d.state = 'accepted' AND d.turn > 0 AND d.backend = :backend AND d.due_at <= now()
      AND NOT EXISTS (SELECT FROM replays WHERE backend = :backend AND state IN ('holding', 'paused'))))
""")

POLL = text("""
UPDATE deliveries SET due_at = clock_timestamp() + make_interval(secs => :lease)
WHERE order_id IN (
  SELECT order_id FROM deliveries WHERE state = 'submitted' AND backend = :backend AND due_at <= clock_timestamp()
  ORDER BY backend, due_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING order_id
""")


class Scheduler:
    """One leader's term over the backend of `settings`, on the connection that holds the lead."""

    def __init__(self, connection: AsyncConnection, settings: Settings, publisher: Publisher) -> None:
        """A term starts with a round of housekeeping; `publisher` is the backend's."""
        self._connection = connection
        self._settings = settings
        self._publisher = publisher
        self._bucket = Bucket()
        self._standing = PaceLimits()
        self._housekept = self._steered = float("-inf")
        self._queue_lost = False

    async def tick(self) -> None:
        """One round; returns when nothing more can be dispatched now, or others have waited long enough."""
        if time.monotonic() - self._housekept >= TICK:
            await self._housekeep()
        if time.monotonic() - self._steered >= self._standing.again:
            await self._steer()
        for _ in range(ROUNDS):
            if not self._hungry() or len(await self._dispatch()) < MOST_IDS:
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
        return depth is not None and depth < (2 * self._settings.worker_concurrency if self._wide() else 1)

    async def _dispatch(self) -> Sequence[Row[Any]]:
        allowance = self._bucket.allowance(time.monotonic())
        if not allowance:
            return []
        values = {
            "backend": self._settings.backend,
            "patience": self._settings.claim_patience,
            "share": self._settings.live_share,
            "allowance": min(allowance, UNBOUNDED),
        }
        most = MOST_IDS if self._wide() else self._settings.erp_concurrency
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
        hands = self._settings.erp_concurrency * self._settings.worker_concurrency
        return self._standing.window > hands and self._standing.again == float("inf")

    async def _steer(self) -> None:
        """Take the replay that runs a stage on or back, and see how fast the backend may get orders."""
        self._steered = time.monotonic()
        self._standing = await steer(self._connection, self._settings)
        self._bucket.limit(self._standing.rate, self._steered)

    async def _housekeep(self) -> None:
        """Rescue, canary and polls; and see whether a lost queue has come back."""
        self._housekept = time.monotonic()
        depth = self._publisher.depth()
        self._queue_lost = depth is None
        await self._rescue(0.0 if depth == 0 else ORPHAN_GRACE)
        await self._steer()
        here = {"backend": self._settings.backend}
        tell_rows("expire", (await self._connection.execute(EXPIRE, here)).all(), self._settings.backend)
        await self._connection.execute(HALF_OPEN, here)
        if not self._queue_lost:
            await self._poll()

    async def _rescue(self, grace: float) -> None:
        answer = await self._connection.execute(
            RESCUE,
            {
                "backend": self._settings.backend,
                "grace": grace,
                "lease": self._settings.lease,
                "max_attempts": self._settings.max_attempts,
            },
        )
        rescued = answer.all()
        tell_rows("rescue", rescued, self._settings.backend)
        for state, count in Counter(row.was for row in rescued).items():
            log.warning("rescued", extra={"orders": count, "state": state})

    async def _poll(self) -> None:
        values = {"backend": self._settings.backend, "lease": self._settings.lease}
        ids = [row[0] for row in await self._connection.execute(POLL, values)]
        if ids:
            self._publisher.poll(ids)
