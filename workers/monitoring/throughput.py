"""What moves: whether a dispatcher leads, and what went through lately, from the newest rows only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import text

from orders.journal import Source, reading_from
from orders.queries.orders import first_id
from workers.erp.outcomes import HAS_FAILED, IS_DELIVERED

RATE_SPAN: Final = timedelta(minutes=1)
TAIL: Final = 4000  # pages of `attempts`, some 200,000 rows; it is append-only, so the newest rows are its last pages

ACCEPTED: Final = text("SELECT count(*) FROM orders WHERE id >= :since")

PAGES: Final = text("SELECT pg_relation_size('attempts') / current_setting('block_size')::bigint, now()")

TRIED: Final = text(f"""
SELECT count(*) FILTER (WHERE {IS_DELIVERED}) AS delivered,
  count(*) FILTER (WHERE {HAS_FAILED}) AS failed, min(ended_at) AS since
FROM attempts WHERE ctid >= CAST(CAST(:page AS text) AS tid) AND ended_at > :since
""")


@dataclass(frozen=True, slots=True)
class Flow:
    """Orders accepted, delivered and attempts that failed in the last `seconds`, a minute or less."""

    accepted: int
    delivered: int
    failed: int
    seconds: float


async def flow(source: Source) -> Flow:
    """What went through lately, from the newest rows only."""
    async with reading_from(source) as connection:
        pages, now = (await connection.execute(PAGES)).one()
        since = now - RATE_SPAN
        accepted = (await connection.execute(ACCEPTED, {"since": first_id(since)})).scalar_one()
        first = max(0, pages - TAIL)
        row = (await connection.execute(TRIED, {"page": f"({first},0)", "since": since})).one()
    whole = first == 0 or row.since is None
    seconds = RATE_SPAN.total_seconds() if whole else (now - row.since).total_seconds()
    return Flow(int(accepted), int(row.delivered), int(row.failed), seconds)
