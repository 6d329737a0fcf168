"""A leader's term over one backend: what a tick of the dispatcher does, on the connection that holds the lead.

Rescue what ran out, give up what is no longer wanted, let an open circuit send its canary, ask about what the ERP
accepts later, and dispatch what is due within the window: urgent first, then the nearest cut-off, then the oldest.
What does not concern a backend is in `workers.chores`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.settings import Settings

if TYPE_CHECKING:
    from workers.publishing import Publisher

log = logging.getLogger("relais.dispatcher")

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
    error = CASE WHEN lost.state = 'delivering' THEN 'the worker did not settle in time' ELSE d.error END
  FROM lost WHERE d.order_id = lost.order_id
)
SELECT state, count(*) FROM lost GROUP BY state
""")

# What may be with the ERP is left to a worker, which asks first.
EXPIRE = text("""
UPDATE deliveries SET state = 'dead', reason = 'expired', settled_at = now(),
  error = 'valid_until: this time passed before it was forwarded'
WHERE order_id IN (
  SELECT order_id FROM deliveries
  WHERE backend = :backend AND state = 'accepted' AND NOT unsure AND valid_until < clock_timestamp()
  LIMIT 1000 FOR UPDATE SKIP LOCKED)
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
  ORDER BY backend, priority, cut_off, turn, order_id
  LIMIT (SELECT greatest(orders, 0) FROM room) FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d
SET state = 'dispatched', lease_until = clock_timestamp() + make_interval(secs => :patience)
FROM due JOIN orders o ON o.id = due.order_id WHERE d.order_id = due.order_id
RETURNING d.order_id, d.priority, CAST(extract(epoch FROM d.cut_off) AS float8) AS cut_off, d.attempts, d.accepted_at,
  o.request_id
""")

POLL = text("""
UPDATE deliveries SET due_at = clock_timestamp() + make_interval(secs => :lease)
WHERE order_id IN (
  SELECT order_id FROM deliveries WHERE state = 'submitted' AND backend = :backend AND due_at <= clock_timestamp()
  ORDER BY backend, due_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING order_id
""")


class Term:
    """One leader's term over the backend of `settings`, on the connection that holds the lead."""

    def __init__(self, connection: AsyncConnection, settings: Settings, publisher: Publisher) -> None:
        """A term starts with a round of housekeeping; `publisher` is the backend's."""
        self._connection = connection
        self._settings = settings
        self._publisher = publisher
        self._housekept = float("-inf")
        self._queue_lost = False

    async def tick(self) -> None:
        """One round; returns when nothing more can be dispatched now, or others have waited long enough."""
        if time.monotonic() - self._housekept >= self._settings.tick:
            await self._housekeep()
        for _ in range(ROUNDS):
            if not self._hungry() or len(await self._dispatch()) < self._settings.dispatch_size:
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
        for statement in (EXPIRE, HALF_OPEN):
            await self._connection.execute(statement, {"backend": self._settings.backend})
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
