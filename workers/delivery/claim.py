"""Claiming: one UPDATE that takes deliveries under a lease and checks circuit, pause and quarantine as it does.

Only what the dispatcher marked `dispatched` can be claimed, so a message that somebody forged, repeated or kept
for later claims nothing. The attempt is counted here, before the work: an order that kills its worker is counted too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.states import CircuitState, State

# The state is said so that a planner finds them by their ids, not in the index of all that is out: that has the whole
# window in it, and where nothing was out when it was counted last, it looks cheaper.
CLAIM = text(f"""
WITH mine AS (
  SELECT d.order_id, d.unsure, d.lease_until
  FROM deliveries d JOIN backends b ON b.name = d.backend
  WHERE d.order_id = ANY(CAST(:ids AS uuid[])) AND d.state IS NOT DISTINCT FROM '{State.DISPATCHED}'
    AND d.backend = :backend AND b.circuit <> '{CircuitState.OPEN}' AND NOT b.paused AND NOT b.quarantined
  FOR UPDATE OF d SKIP LOCKED
)
UPDATE deliveries d
SET state = '{State.DELIVERING}', lease = :lease, attempts = d.attempts + 1, unsure = true,
  lease_until = clock_timestamp() + make_interval(secs => :seconds)
FROM mine JOIN orders o ON o.id = mine.order_id
WHERE d.order_id = mine.order_id
RETURNING d.order_id, o.body, o.digest, d.attempts, mine.unsure, d.failed_at, o.request_id,
  coalesce(d.aged_from, d.accepted_at), o.traceparent, d.sent_at, mine.lease_until, clock_timestamp()
""")


HELD = text(f"""
SELECT b.circuit, b.paused, b.quarantined, (SELECT count(*) FROM deliveries d WHERE d.backend = b.name
  AND d.order_id = ANY(CAST(:ids AS uuid[])) AND d.state = '{State.DISPATCHED}') AS orders
FROM backends b WHERE b.name = :backend
""")


@dataclass(frozen=True, slots=True)
class Claimed:
    """One delivery in our hands.

    `attempts` counts this one, `unsure` says that it may be with the ERP already, `failed_at` when it last failed,
    `since` when it was fresh, `sent_at` when it was last on its way to the ERP, before this.
    """

    id: UUID
    body: bytes
    digest: bytes
    attempts: int
    unsure: bool
    failed_at: datetime | None
    request_id: str | None
    since: datetime
    traceparent: str | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim took: the lease that settles it, when (journal's clock), seconds it had waited in Redis."""

    lease: UUID
    orders: list[Claimed]
    at: datetime
    waited: float


async def claim(
    engine: AsyncEngine, ids: Sequence[UUID], settings: Settings, lease: UUID | None = None
) -> Claim | None:
    """Take those of `ids` that may be forwarded now, under this lease or any; None when there are none."""
    lease = lease or uuid4()
    wanted = {"ids": list(ids), "backend": settings.erp.backend, "lease": lease, "seconds": settings.delivery.lease}
    async with engine.connect() as connection:
        rows = (await connection.execute(CLAIM, wanted)).all()
    if not rows:
        return None
    turn = {order_id: number for number, order_id in enumerate(ids)}
    rows = sorted(rows, key=lambda row: turn[row[0]])  # RETURNING keeps no order; the message does
    at = rows[0][11]
    dispatched_until = min(row[10] for row in rows)
    waited = settings.delivery.claim_patience - (dispatched_until - at).total_seconds()
    return Claim(lease, [Claimed(*row[:10]) for row in rows], at, waited)


async def held(engine: AsyncEngine, ids: Sequence[UUID], settings: Settings) -> tuple[int, str]:
    """How many of `ids`, none of which could be claimed, are held back by their backend, and what it is."""
    async with engine.connect() as connection:
        row = (await connection.execute(HELD, {"ids": list(ids), "backend": settings.erp.backend})).one_or_none()
    if row is None or not row.orders:
        return 0, ""
    stands = {"in quarantine": row.quarantined, "paused": row.paused, "down": row.circuit == CircuitState.OPEN}
    found = next((name for name, so in stands.items() if so), None)
    return (row.orders, f"{settings.erp.backend} is {found}") if found else (0, "")
