"""What the recovery's pages read of the journal: no more rows than they show, whatever lies in it.

The orders of the backlog are counted along its partial indexes, which what is final is not in; `Lately` reads that
once for all who look (`workers.console.recovery.cached`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text

from orders.journal import Source, reading_from
from orders.queries.orders import WAITING
from orders.schema.sentence_column import SentenceColumn
from workers.reconcile.runs import FIRST
from workers.replay.choice import CHOSEN, Choice

Row = dict[str, Any]

SAMPLE: Final = 10  # orders that a preview shows

BACKLOG = text(f"""
SELECT backend, count(*) AS orders FROM {WAITING}
WHERE CAST(:backend AS text) IS NULL OR backend = :backend GROUP BY backend ORDER BY backend
""")

PAST = text("""
SELECT id, backend, state, stage, passed, orders, started_at, started_by, ended_at, choice FROM replays
WHERE CAST(:before AS bigint) IS NULL OR id < :before ORDER BY id DESC LIMIT :limit
""")

SAMPLED = text(f"""
SELECT o.id, o.pharmacy, o.reference, d.accepted_at {CHOSEN} ORDER BY d.order_id LIMIT {SAMPLE}
""")

FOUND = text("""
SELECT f.order_id AS id, f.kind, f.detail, f.at, o.pharmacy, o.reference, d.state
FROM (SELECT * FROM findings WHERE reconciliation = :run AND kind = :kind AND order_id > :after
  ORDER BY order_id LIMIT :limit) f
LEFT JOIN orders o ON o.id = f.order_id LEFT JOIN deliveries d ON d.order_id = f.order_id ORDER BY f.order_id
""").columns(detail=SentenceColumn())

ASKED = text("""
SELECT count(*) FROM receipts WHERE backend = :backend AND received_at >= :since AND received_at < :until
""")


async def backlog(source: Source, backend: str | None = None) -> dict[str, int]:
    """How many orders of each backend, or of the one, are not final."""
    async with reading_from(source) as connection:
        return {row.backend: int(row.orders) for row in await connection.execute(BACKLOG, {"backend": backend})}


async def past(source: Source, before: int | None, limit: int) -> list[Row]:
    """Replays, or those below that number, the newest first."""
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(PAST, {"before": before, "limit": limit})).mappings()]


async def found(source: Source, number: int, kind: str, after: UUID | None, limit: int) -> Sequence[Row]:
    """What that reconciliation found of a kind, after that order: id, detail, at, and where the order stands now."""
    values = {"run": number, "kind": kind, "after": after or FIRST, "limit": limit}
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(FOUND, values)).mappings()]


async def sample(source: Source, choice: Choice) -> list[Row]:
    """The first ten that an act on this choice would touch, by the query that does it."""
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(SAMPLED, choice.values())).mappings()]


async def asked_about(source: Source, span: Row) -> int:
    """How many receipts of a `backend` lie `since` and `until`, along their index."""
    async with reading_from(source) as connection:
        return int((await connection.execute(ASKED, span)).scalar_one())
