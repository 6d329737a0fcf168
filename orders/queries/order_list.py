"""Orders for people, the newest first: filtered, a page at a time, and no page reads more rows than it shows.

A page goes along one index: a pharmacy's, that of dead letters, the few that are not final, a product's, else along
the ids, which are one over time. What the index cannot tell is looked at row by row, LOOKED at most: a page whose
filter fits few of them is short and says so, and the next one looks on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.journal import Source, reading_from
from orders.model import RANK
from orders.queries.order_filter import CONDITIONS, OrderFilter
from orders.queries.products import complete_at, numbered
from orders.states import BACKLOG, LIVE, OUT, POLLED, REPLAYED, Reason, State

Row = dict[str, Any]

LOOKED: Final = 2_000  # orders that a page looks at, at most
FIRST: Final = UUID(int=0)
LAST: Final = UUID(int=(1 << 128) - 1)
COLUMNS: Final = (
    "id",
    "pharmacy",
    "reference",
    "client",
    "backend",
    "priority",
    "state",
    "reason",
    "attempts",
    "received_at",
    "due_at",
    "settled_at",
)  # of a row
PRIORITY_OF: Final = {rank: name for name, rank in RANK.items()}

WAITING: Final = {
    State.ACCEPTED: (LIVE, REPLAYED),
    State.DISPATCHED: (OUT,),
    State.DELIVERING: (OUT,),
    State.SUBMITTED: (POLLED,),
}  # the partial indexes that have what is not final

# Of orders in the order of an index: from the newest on, within the bounds that all of them have.
BY_TIME: Final = "SELECT id FROM orders WHERE id < :before AND id >= :from ORDER BY id DESC"
# So only the index over (pharmacy, id) serves: by the id alone a planner would read other pharmacies' orders.
OF_PHARMACY: Final = """
SELECT id, pharmacy FROM orders
WHERE (pharmacy, id) < (:pharmacy, :before) AND (pharmacy, id) >= (:pharmacy, :from) ORDER BY pharmacy DESC, id DESC"""
OF_PRODUCT: Final = """
SELECT order_id AS id FROM order_products WHERE product = :number AND order_id < :before AND order_id >= :from
ORDER BY order_id DESC"""
# Of each reason no more than is looked at, so that they are merged as they come and not sorted.
DEAD: Final = f"""
(SELECT order_id AS id FROM deliveries
WHERE state = '{State.DEAD}' AND reason = '{{reason}}' AND order_id < :before AND order_id >= :from
ORDER BY reason DESC, order_id DESC LIMIT :looked)"""
NAMED: Final = "SELECT id FROM unnest(CAST(:ids AS uuid[])) AS id WHERE id < :before AND id >= :from ORDER BY id DESC"

# A limit within holds the planner to one look along the index a row: a join might read a whole small table.
PAGE: Final = """
SELECT o.id, o.pharmacy, o.reference, o.client, d.backend, d.priority, d.state, d.reason, d.attempts, o.received_at,
  d.due_at, d.settled_at
FROM ({candidates} LIMIT :looked) c
CROSS JOIN LATERAL (SELECT * FROM orders WHERE id = c.id LIMIT 1) o
CROSS JOIN LATERAL (SELECT * FROM deliveries WHERE order_id = c.id LIMIT 1) d
WHERE {conditions} ORDER BY {turn} LIMIT :most
"""
REACHED: Final = "SELECT count(*) AS n, (array_agg(id ORDER BY id))[1] AS last FROM ({candidates} LIMIT :looked) c"


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Its rows (COLUMNS), the place behind which the next page begins, None on the last, and whether it is `short`: it
    looked at LOOKED orders and stopped there.
    """

    rows: list[Row]
    after: UUID | None
    short: bool = False


@dataclass(frozen=True, slots=True)
class Along:
    """An index to go along: its SELECT, what it already tells of the filter, its order, and parameters of its own."""

    candidates: str
    tells: frozenset[str] = frozenset()
    turn: str = "c.id DESC"
    values: Mapping[str, Any] = field(default_factory=dict)


async def listed(source: Source, wanted: OrderFilter, *, after: UUID | None = None, limit: int = 50) -> OrderPage:
    """A page of the orders wanted, the newest first, from behind the order `after` on."""
    async with reading_from(source) as connection:
        along = await _along(connection, wanted)
        given = wanted.values()
        bounds = {"before": min(given.pop("until", LAST), after or LAST), "from": given.pop("since", FIRST)}
        beside = {name: given[name] for name in given if name not in along.tells}
        values = {**bounds, **along.values, "looked": LOOKED if beside else limit + 1}
        conditions = " AND ".join(CONDITIONS[name][1] for name in beside) or "true"
        query = text(PAGE.format(candidates=along.candidates, turn=along.turn, conditions=conditions))
        rows = (await connection.execute(query, {**beside, **values, "most": limit + 1})).mappings()
        found = [{**row, "priority": PRIORITY_OF[row["priority"]]} for row in rows]
        if len(found) > limit:
            return OrderPage(found[:limit], found[limit - 1]["id"])
        reached = await _reached(connection, along, values) if beside else None
        return OrderPage(found, reached, short=reached is not None)


async def every(engine: AsyncEngine, wanted: OrderFilter, each: int = 1_000) -> AsyncIterator[list[Row]]:
    """All orders wanted, the newest first, some at a time; each is there once, however long it takes."""
    after: UUID | None = None
    while True:
        found = await listed(engine, wanted, after=after, limit=each)
        yield found.rows
        if (after := found.after) is None:
            return


async def _reached(connection: AsyncConnection, along: Along, values: Mapping[str, Any]) -> UUID | None:
    """The last order that was looked at; None when the index has no more."""
    row = (await connection.execute(text(REACHED.format(candidates=along.candidates)), values)).one()
    return row.last if row.n == values["looked"] else None


async def _along(connection: AsyncConnection, wanted: OrderFilter) -> Along:
    """The index for this filter."""
    if wanted.pharmacy is not None:
        turn = "c.pharmacy DESC, c.id DESC"
        return Along(OF_PHARMACY, frozenset({"pharmacy"}), turn, {"pharmacy": wanted.pharmacy})
    if wanted.standing == State.DEAD:
        reasons = [wanted.reason] if wanted.reason else [*Reason]
        dead = " UNION ALL ".join(DEAD.format(reason=each) for each in reasons)
        return Along(f"SELECT id FROM ({dead}) dead ORDER BY id DESC", frozenset({"state", "reason"}))
    if wanted.standing in BACKLOG and (ids := await _few(connection, wanted)) is not None:
        return Along(NAMED, values={"ids": ids})
    if wanted.product is not None and await complete_at(connection) is not None:
        return Along(OF_PRODUCT, frozenset({"product"}), values={"number": numbered(wanted.product)})
    return Along(BY_TIME)


async def _few(connection: AsyncConnection, wanted: OrderFilter) -> list[UUID] | None:
    """The ids of all that stand in a state which is not final, None when they are more than a page may look at."""
    given = {name: value for name, value in wanted.values().items() if name in ("state", "backend", "priority")}
    where = " AND ".join(CONDITIONS[name][1] for name in given)
    parts = (f"SELECT order_id FROM deliveries d WHERE {part} AND {where}" for part in WAITING[given["state"]])
    query = text(f"SELECT order_id FROM ({' UNION ALL '.join(parts)}) d LIMIT :most")
    ids = list((await connection.execute(query, {**given, "most": LOOKED + 1})).scalars())
    return ids if len(ids) <= LOOKED else None
