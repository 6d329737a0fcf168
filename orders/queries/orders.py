"""Reading the journal: an order's life, the backlog, the dead letters, the ledger. Never writes.

Every figure that an operator sees comes from here, so that the CLI, the API and the audit cannot disagree.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import NotFound
from orders.journal import Source, reading_from
from orders.receipt_lines import told
from orders.refusals import NotDone
from orders.schema.sentence_column import SentenceColumn
from orders.schema.tables.core import attempts, deliveries, orders, receipts
from orders.sentences import Sentence
from orders.states import FINAL, PARTS, AsideKind, State, listed

Row = dict[str, Any]

PRIORITIES = ("urgent", "normal")

LIFE = select(
    orders.c.id,
    orders.c.pharmacy,
    orders.c.reference,
    orders.c.digest,
    orders.c.received_at,
    orders.c.client,
    orders.c.request_id,
    orders.c.body,
    orders.c.rival,
    deliveries.c.state,
    deliveries.c.backend,
    deliveries.c.due_at,
    deliveries.c.attempts,
    deliveries.c.reason,
    deliveries.c.error,
    deliveries.c.settled_at,
).join(deliveries, deliveries.c.order_id == orders.c.id)

ASIDE = text(
    f"SELECT order_id FROM asides WHERE told = :told AND kind = '{AsideKind.REPEATED}' ORDER BY number LIMIT 1"
)

ASIDES = text("""
SELECT at, kind, told, order_id, why, length(raw) AS size FROM asides ORDER BY number DESC LIMIT :limit
""").columns(why=SentenceColumn())

WAITING = f"({' UNION ALL '.join(f'SELECT * FROM deliveries WHERE {part}' for part in PARTS)}) waiting"

# What is final is counted by the tallies.
COUNTS = text(f"""
SELECT state, count(*) AS orders FROM {WAITING} GROUP BY state
UNION ALL SELECT label, CAST(sum(CASE name WHEN 'fate' THEN n ELSE -n END) AS bigint) FROM tallies
  WHERE name IN ('fate', 'left') AND label IN ({listed(FINAL)}) GROUP BY label
""")

BACKLOG_BY = text(f"""
SELECT backend, CASE priority WHEN 0 THEN 'urgent' ELSE 'normal' END AS priority, state, count(*) AS orders,
  min(accepted_at) AS oldest, nullif(min(cut_off), 'infinity') AS next_cut_off, count(*) FILTER (
  WHERE due_at > now() AND state = '{State.ACCEPTED}') AS not_yet_due
FROM {WAITING} GROUP BY backend, waiting.priority, state ORDER BY backend, waiting.priority, state
""")

DEAD = text(f"""
SELECT order_id AS id, pharmacy, reference, reason, error, attempts, settled_at
FROM deliveries JOIN orders ON orders.id = order_id
WHERE state = '{State.DEAD}' AND (CAST(:reason AS text) IS NULL OR reason = :reason)
  AND (CAST(:cause AS bigint) IS NULL OR cause = :cause)
  AND (CAST(:pharmacy AS text) IS NULL OR pharmacy = :pharmacy)
ORDER BY order_id LIMIT :limit
""")


async def order(engine: AsyncEngine, order_id: UUID) -> Row:
    """An order's whole life: what it is, its state, attempts and receipt. Raises NotFound."""
    async with engine.connect() as connection:
        row = (await connection.execute(LIFE.where(orders.c.id == order_id))).mappings().one_or_none()
        if row is None:
            order_id = await _first_of(connection, order_id)
            row = (await connection.execute(LIFE.where(orders.c.id == order_id))).mappings().one()
        return await _life(connection, row)


async def _first_of(connection: AsyncConnection, told: UUID) -> UUID:
    """The order that has the place of one that was spilled and answered as `told`, when both are the same."""
    aside = (await connection.execute(ASIDE, {"told": told})).one_or_none()
    if aside is None:
        raise NotFound(Sentence(NotDone.UNKNOWN_ORDER, order=told))
    return UUID(str(aside.order_id))


def first_id(since: datetime) -> UUID:
    """The lowest UUIDv7 of that moment: ids are made as orders come in, so their index is one over time."""
    return UUID(int=max(0, int(since.timestamp() * 1000)) << 80)


async def order_by_reference(engine: AsyncEngine, pharmacy: str, reference: str) -> Row:
    """As `order`, by the pharmacy's own order number: of those that came with it the first. Raises NotFound."""
    query = LIFE.where(orders.c.pharmacy == pharmacy, orders.c.reference == reference, orders.c.rival.is_(None))
    async with engine.connect() as connection:
        row = (await connection.execute(query)).mappings().one_or_none()
        if row is None:
            raise NotFound(Sentence(NotDone.NO_ORDER_OF, reference=reference, pharmacy=pharmacy))
        return await _life(connection, row)


async def _life(connection: AsyncConnection, row: RowMapping) -> Row:
    tried = (
        select(
            attempts.c.started_at,
            attempts.c.ended_at,
            attempts.c.outcome,
            attempts.c.status,
            attempts.c.detail,
            attempts.c.worker,
        )
        .where(attempts.c.order_id == row["id"])
        .order_by(attempts.c.started_at, attempts.c.ended_at)
    )
    answered = (
        select(
            receipts.c.reference,
            receipts.c.lines,
            receipts.c.digest,
            receipts.c.signature,
            receipts.c.key_id,
            receipts.c.received_at,
        )
        .where(receipts.c.order_id == row["id"])
        .order_by(receipts.c.received_at)
    )
    receipt_rows = [dict(found) for found in (await connection.execute(answered)).mappings()]
    for found in receipt_rows:
        found["digest"] = found["digest"] and found["digest"].hex()
        found["lines"] = told(found["lines"])
    life = {**row, "kept": "journal"}
    life["digest"] = life["digest"].hex()
    life["order"] = json.loads(life.pop("body"))
    life["history"] = [dict(found) for found in (await connection.execute(tried)).mappings()]
    life["receipt"] = receipt_rows[-1] if receipt_rows else None
    return life


async def counts(source: Source) -> dict[str, int]:
    """How many deliveries are in each state; every state is there."""
    async with reading_from(source) as connection:
        found = {row[0]: row[1] for row in await connection.execute(COUNTS)}
    return {str(state): found.get(str(state), 0) for state in State}


async def backlog(source: Source) -> list[Row]:
    """The backlog by backend, priority and state: orders, oldest, next_cut_off, not_yet_due."""
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(BACKLOG_BY)).mappings()]


async def dead(
    engine: AsyncEngine,
    *,
    reason: str | None = None,
    cause: int | None = None,
    pharmacy: str | None = None,
    limit: int = 100,
) -> list[Row]:
    """Dead letters, oldest first; of one reason, cause or pharmacy where that is given."""
    wanted = {"reason": reason, "cause": cause, "pharmacy": pharmacy, "limit": limit}
    async with engine.connect() as connection:
        return [dict(row) for row in (await connection.execute(DEAD, wanted)).mappings()]


async def asides(engine: AsyncEngine, limit: int) -> list[Row]:
    """What was spilled and did not become an order, the newest first: at, kind, told, order_id, why, size (bytes)."""
    async with engine.connect() as connection:
        return [dict(row) for row in (await connection.execute(ASIDES, {"limit": limit})).mappings()]


async def asides_by_kind(source: Source) -> dict[str, int]:
    """How many of each kind."""
    query = text("SELECT kind, count(*) FROM asides GROUP BY kind ORDER BY kind")
    async with reading_from(source) as connection:
        return {row[0]: row[1] for row in await connection.execute(query)}


async def drop_forged(connection: AsyncConnection) -> int:
    """Forget the forged records that were set aside; how many there were."""
    return (await connection.execute(text(f"DELETE FROM asides WHERE kind = '{AsideKind.FORGED}'"))).rowcount


async def backlog_size(engine: AsyncEngine) -> int:
    """How many orders are not yet final."""
    query = text(f"SELECT count(*) FROM {WAITING}")
    async with engine.connect() as connection:
        return int((await connection.execute(query)).scalar_one())
