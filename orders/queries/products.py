"""Which orders hold a product: the index of it, filled from `orders` a little at a time, off the intake's path.

What was there before is walked by id; what comes is taken by the transaction that wrote it, below the oldest that
still runs, as a seal does (`orders.schema.epochs`): no order can slip through, whatever commits late. Batch and cursor
commit together, and without waiting for the disk: what a crash takes back is simply done again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.journal import transactional

LOCK: Final = 0x52454C50  # of whoever is filling
ORDERS_IN_BATCH: Final = 500  # orders in a batch; a window of one transaction is taken whole
WIDEST: Final = 1 << 48  # transactions in a window: an epoch's

ALONE: Final = text("SELECT pg_try_advisory_xact_lock(:key)")
# A planner without statistics would read the whole table for what its index over transactions finds.
RELAXED: Final = text("SELECT set_config('synchronous_commit', 'off', true), set_config('enable_seqscan', 'off', true)")
KNOWN: Final = text("""
SELECT after, tx, ceiling, asked_at, complete_at, relais_tx_floor() AS floor, relais_tx_ceiling() AS top,
  clock_timestamp() AS now FROM products_known
""")
BEGIN: Final = text("""
INSERT INTO products_known (after, tx, ceiling, asked_at)
SELECT CAST('00000000-0000-0000-0000-000000000000' AS uuid), relais_tx_floor(), relais_tx_ceiling(), clock_timestamp()
ON CONFLICT DO NOTHING
""")
KEEP: Final = text("""
UPDATE products_known SET after = :after, tx = :tx, ceiling = :ceiling, asked_at = :asked_at,
  complete_at = :complete_at
""")

OLD: Final = text("SELECT id, body FROM orders WHERE id > :after ORDER BY id LIMIT :most")
NEW: Final = text("SELECT id, body FROM orders WHERE tx >= :tx AND tx < :upto LIMIT :most")

ADD: Final = text("""
INSERT INTO order_products (product, order_id)
SELECT * FROM unnest(CAST(:product AS bigint[]), CAST(:order_id AS uuid[])) ON CONFLICT DO NOTHING
""")

COMPLETE: Final = text("SELECT complete_at FROM products_known")


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did: orders taken, and whether more wait to be."""

    orders: int
    more: bool


class Filling:
    """Fills step by step; remembers only how wide a window of transactions holds about a batch."""

    def __init__(self, most: int = ORDERS_IN_BATCH) -> None:
        """Batches of at most `most` orders, but for those of one transaction."""
        self._most = most
        self._width = 1024

    async def step(self, engine: AsyncEngine) -> Step | None:
        """Take one batch, in one transaction; None while somebody else does. Raises what the journal raises."""
        async with transactional(engine).begin() as connection:
            if not (await connection.execute(ALONE, {"key": LOCK})).scalar_one():
                return None
            await connection.execute(RELAXED)
            row = (await connection.execute(KNOWN)).one_or_none()
            if row is None:
                await connection.execute(BEGIN)
                return Step(0, True)
            return await (self._old(connection, row) if row.after is not None else self._new(connection, row))

    async def _old(self, connection: AsyncConnection, row: Row[Any]) -> Step:
        """What was journalled before the filling began; what comes meanwhile does no harm."""
        found = (await connection.execute(OLD, {"after": row.after, "most": self._most})).all()
        await _add(connection, found)
        more = len(found) == self._most
        await _keep(connection, row, after=found[-1].id if more else None)
        return Step(len(found), True)

    async def _new(self, connection: AsyncConnection, row: Row[Any]) -> Step:
        upto = min(row.floor, row.tx + self._width)
        most = None if upto - row.tx <= 1 else self._most + 1
        found = (await connection.execute(NEW, {"tx": row.tx, "upto": upto, "most": most})).all()
        if most is not None and len(found) > self._most:
            self._width = max(1, min(self._width, upto - row.tx) // 2)
            return Step(0, True)
        if len(found) < self._most // 2:
            self._width = min(WIDEST, 2 * self._width)
        await _add(connection, found)
        await _keep(connection, row, tx=max(row.tx, upto))
        return Step(len(found), upto < row.floor)


async def _add(connection: AsyncConnection, found: Sequence[Row[Any]]) -> None:
    pairs = sorted({(product, row.id) for row in found for product in products_in(row.body)})
    if pairs:
        values = {"product": [pair[0] for pair in pairs], "order_id": [pair[1] for pair in pairs]}
        await connection.execute(ADD, values)


async def _keep(connection: AsyncConnection, row: Row[Any], **moved: Any) -> None:
    """How far it is now. All before `asked_at` is in once every transaction that had begun by then is."""
    values = {
        "after": row.after,
        "tx": row.tx,
        "ceiling": row.ceiling,
        "asked_at": row.asked_at,
        "complete_at": row.complete_at,
    } | moved
    if values["after"] is None:
        if values["tx"] >= row.top:
            values |= {"complete_at": row.now, "ceiling": row.top, "asked_at": row.now}
        elif values["tx"] >= row.ceiling:
            values |= {"complete_at": row.asked_at, "ceiling": row.top, "asked_at": row.now}
    await connection.execute(KEEP, values)


def products_in(body: bytes) -> set[int]:
    """The products of an order's canonical bytes, as numbers; none where these are no order."""
    try:
        return {int(line["product"]) for line in json.loads(body)["lines"]}
    except (ValueError, KeyError, TypeError):
        return set()


async def complete_at(connection: AsyncConnection) -> datetime | None:
    """Every order that was accepted by then is in the index; None before it was first filled."""
    found: datetime | None = (await connection.execute(COMPLETE)).scalar()
    return found


def numbered(product: str) -> int:
    """A product's 13 digits as the index has them."""
    return int(product)


FOUND: Final = text("""
SELECT order_id FROM order_products WHERE product = :product AND order_id < :before
ORDER BY order_id DESC LIMIT :most
""")


async def holding(connection: AsyncConnection, product: str, before: UUID, most: int) -> list[UUID]:
    """The newest orders with this product (13 digits) whose ids are below `before`."""
    values = {"product": numbered(product), "before": before, "most": most}
    return [row[0] for row in await connection.execute(FOUND, values)]
