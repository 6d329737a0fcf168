"""Orders in the order in which they were journalled: who keeps a cursor passes over none, however late it commits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.queries.order_filter import ANY, OrderFilter

Place = tuple[int, UUID]  # of an order: the transaction that journalled it, its id


def _instant(column: str) -> str:
    """As pydantic writes it: RFC 3339 in UTC."""
    name = column.partition(".")[2]
    return rf"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24\:MI\:SS.US"Z"') AS {name}"""


# `over`: nothing can be journalled before it any more. PostgreSQL writes the JSON: for 500 orders that takes the event
# loop a quarter of the time that it takes to read the columns and to write them.
SHORT: Final = f"""
SELECT o.tx, o.tx < (SELECT relais_tx_floor()) AS over, o.id, (SELECT CAST(row_to_json(s) AS text) FROM (
  SELECT o.id, o.pharmacy, o.reference, {_instant("o.received_at")}, o.client, d.state, d.reason, d.error, d.attempts,
    {_instant("d.due_at")}, {_instant("d.settled_at")}) s) AS summary
FROM orders o JOIN deliveries d ON d.order_id = o.id
"""


async def page(
    engine: AsyncEngine,
    wanted: OrderFilter = ANY,
    *,
    pharmacies: Collection[str] | None = None,
    after: Place | None = None,
    limit: int = 100,
) -> Sequence[Row[Any]]:
    """Those wanted, in the order in which they were journalled, from the first or from behind the place `after` on.

    `pharmacies` None is any. Each has its `id`, its `summary` (JSON with state, reason, error, attempts and times), and
    `tx` and `over` for `cut`; the whole life is `order`'s.
    """
    where, values = wanted.conditions(), {**wanted.values(), "limit": limit}
    turn = "o.tx"
    if pharmacies is not None:
        where.append("o.pharmacy = ANY(CAST(:pharmacies AS text[]))")
        values["pharmacies"] = sorted(pharmacies)
    if after is not None:
        where.append("o.tx >= :tx AND (o.tx > :tx OR o.id > :last)")
        values["tx"], values["last"] = after
    elif wanted.since is not None:
        turn = "o.tx + 0"  # along the ids: a planner would walk all transactions from the first to those of then
    query = f"{SHORT} WHERE {' AND '.join(where or ['true'])} ORDER BY {turn}, o.id LIMIT :limit"
    async with engine.connect() as connection:
        return (await connection.execute(text(query), values)).all()


def cut(rows: Sequence[Row[Any]], most: int) -> tuple[Sequence[Row[Any]], Place | None]:
    """The first `most` rows, and the place behind which the next page begins; None when nothing surely follows.

    The place is never behind a transaction that others may still come to stand before. Rows of the last moment are
    shown all the same while they fit, and again behind the last place.
    """
    over = [row for row in rows[:most] if row.over]
    if len(rows) <= most or not over:
        return rows[:most], None
    return over, (over[-1].tx, over[-1].id)
