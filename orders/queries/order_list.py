"""Orders for people, the newest first: filtered, a page at a time, and no page reads more rows than it shows.

A page goes along one index: a pharmacy's, that of dead letters, of what was cancelled or discarded, the few that are
not final, a product's, else along the ids, which are one over time. What the index cannot tell is looked at row by row,
LOOKED at most: a page whose filter fits few of them is short and says so, and the next one looks on.
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
from orders.states import BACKLOG, GIVEN_UP, LIVE, OUT, POLLED, REPLAYED, Reason, State

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
# Of each reason no more than is looked at, so that they are merged as they come and not sorted. The reason is said
# twice, and how many is out of a planner's sight: so it takes them for few, and a scan along their index for cheapest,
# even where nothing was vacuumed. Else it would sort all of a reason, or look for them among all deliveries.
DEAD: Final = f"""
(SELECT order_id AS id FROM deliveries
WHERE state = '{State.DEAD}' AND reason = '{{reason}}' AND reason BETWEEN '{{reason}}' AND '{{reason}}'
  AND order_id < :before AND order_id >= :from
ORDER BY reason DESC, order_id DESC LIMIT (SELECT CAST(:looked AS bigint)))"""
OF_GIVEN_UP: Final = f"""
SELECT order_id AS id, state FROM deliveries
WHERE {GIVEN_UP} AND state = :state AND order_id < :before AND order_id >= :from ORDER BY state DESC, order_id DESC"""
NAMED: Final = "SELECT id FROM unnest(CAST(:ids AS uuid[])) AS id WHERE id < :before AND id >= :from ORDER BY id DESC"

# Each that is looked at, and whether it `fits`. A limit within holds the planner to one look along the index a row: a
# join might read a whole small table.
LOOK: Final = """
SELECT c.id, o.pharmacy, o.reference, o.client, d.backend, d.priority, d.state, d.reason, d.attempts, o.received_at,
  d.due_at, d.settled_at, coalesce({conditions}, false) AS fits
FROM ({candidates} LIMIT :looked) c
LEFT JOIN LATERAL (SELECT * FROM orders WHERE id = c.id LIMIT 1) o ON true
LEFT JOIN LATERAL (SELECT * FROM deliveries WHERE order_id = c.id LIMIT 1) d ON true
ORDER BY {turn}
"""


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
    """A page of the orders wanted, the newest first, from behind the order `after` on.

    It looks at no more than it shows, then at twice as many while too few of them fit, and at LOOKED at most.
    """
    async with reading_from(source) as connection:
        along, given = await _along(connection, wanted), wanted.values()
        until, since = given.pop("until", LAST), given.pop("since", FIRST)
        beside = {name: given[name] for name in given if name not in along.tells}
        conditions = ["o.id = d.order_id", *(CONDITIONS[name][1] for name in beside)]
        query = LOOK.format(candidates=along.candidates, turn=along.turn, conditions=" AND ".join(conditions))
        values = {**beside, **along.values, "before": min(until, after or LAST), "from": since}
        found, looked, most = list[Row](), 0, limit + 1
        while looked < max(LOOKED, limit + 1):
            rows = (await connection.execute(text(query), {**values, "looked": most})).mappings().all()
            found += [{name: row[name] for name in COLUMNS} for row in rows if row["fits"]]
            if len(found) > limit:
                return OrderPage([_told(row) for row in found[:limit]], found[limit - 1]["id"])
            if len(rows) < most:
                return OrderPage([_told(row) for row in found], None)
            looked, values["before"] = looked + len(rows), rows[-1]["id"]
            most = min(2 * most, max(1, LOOKED - looked))
        return OrderPage([_told(row) for row in found], values["before"], short=True)


def _told(row: Row) -> Row:
    return {**row, "priority": PRIORITY_OF[row["priority"]]}


async def every(engine: AsyncEngine, wanted: OrderFilter, each: int = 1_000) -> AsyncIterator[list[Row]]:
    """All orders wanted, the newest first, some at a time; each is there once, however long it takes."""
    after: UUID | None = None
    while True:
        found = await listed(engine, wanted, after=after, limit=each)
        yield found.rows
        if (after := found.after) is None:
            return


async def _along(connection: AsyncConnection, wanted: OrderFilter) -> Along:
    """The index for this filter."""
    if wanted.pharmacy is not None:
        turn = "c.pharmacy DESC, c.id DESC"
        return Along(OF_PHARMACY, frozenset({"pharmacy"}), turn, {"pharmacy": wanted.pharmacy})
    if wanted.standing == State.DEAD:
        reasons = [wanted.reason] if wanted.reason else [*Reason]
        dead = " UNION ALL ".join(DEAD.format(reason=each) for each in reasons)
        return Along(f"SELECT id FROM ({dead}) dead ORDER BY id DESC", frozenset({"state", "reason"}))
    if wanted.standing in (State.CANCELLED, State.DISCARDED):
        return Along(OF_GIVEN_UP, frozenset({"state"}), "c.state DESC, c.id DESC", {"state": wanted.standing})
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
