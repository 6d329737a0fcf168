"""What somebody looks for, understood from one box: an id, a reference, a pharmacy, a product, an ERP's reference.

Each way is served by an index, and a page reads one row more than it shows, to know whether another follows. Letters
are looked up as typed, then in capitals, then small; spaces within codes do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.identifiers import product
from orders.queries import products as product_queries
from workers.console.i18n import N_

PAGE_ORDERS: Final = 50  # orders a page
LAST: Final = UUID(int=(1 << 128) - 1)
FIRST: Final = UUID(int=0)
SHORTEST: Final = 2  # characters that references are looked up by the beginning of

WAYS: Final[dict[str, str]] = {
    "reference": N_("Reference"),
    "starts": N_("Reference that begins so"),
    "pharmacy": N_("Pharmacy"),
    "product": N_("Product"),
    "erp": N_("The ERP's reference"),
}

PLACES: Final = {"starts": (str, UUID)}  # what a cursor's values are, where that is not an id alone

# A limit within holds the planner to one look along the index a row: a join might read a whole small table.
DELIVERY: Final = """
CROSS JOIN LATERAL (SELECT state, backend, due_at, lease_until, reason, error, why, settled_at, unsure
  FROM deliveries WHERE order_id = o.id LIMIT 1) d
"""
_SHOWN: Final = f"""
SELECT o.id, o.pharmacy, o.reference, o.received_at, d.state, d.backend, d.reason
FROM ({{chosen}}) o {DELIVERY} ORDER BY {{turn}}
"""
_FIELDS: Final = "SELECT id, pharmacy, reference, received_at FROM orders"

# So only the index over (pharmacy, id) serves: by the id alone a planner would read other pharmacies' orders.
OF_PHARMACY: Final = "(pharmacy, id) < (:q, :before) AND pharmacy >= :q ORDER BY pharmacy DESC, id DESC"
BY_REFERENCE: Final = text(
    _SHOWN.format(
        chosen=f"{_FIELDS} WHERE reference ~>=~ :q AND reference ~<=~ :q AND id < :before "
        "ORDER BY reference USING ~>~, id DESC LIMIT :most",
        turn="o.id DESC",
    )
)
# Along the index over (reference, id), whose order is that of the bytes.
BY_BEGINNING: Final = text(
    _SHOWN.format(
        chosen=f"{_FIELDS} WHERE reference ~>=~ :from AND reference ~<~ :upto AND (reference ~>~ :from OR id > :after) "
        "ORDER BY reference USING ~<~, id LIMIT :most",
        turn="o.reference USING ~<~, o.id",
    )
)
BY_PHARMACY: Final = text(
    _SHOWN.format(
        chosen=f"{_FIELDS} WHERE {OF_PHARMACY} LIMIT :most",
        turn="o.id DESC",
    )
)
BY_IDS: Final = text(
    _SHOWN.format(
        chosen=f"{_FIELDS} WHERE id = ANY(CAST(:ids AS uuid[]))",
        turn="o.id DESC",
    )
)
BY_ERP: Final = text("""
SELECT DISTINCT order_id FROM receipts
WHERE backend IN (SELECT name FROM backends) AND reference = :q AND order_id < :before
ORDER BY order_id DESC LIMIT :most
""")


def identified(q: str) -> UUID | None:
    """The order's id that was typed, None for anything else."""
    try:
        return UUID(q.replace(" ", ""))
    except ValueError:
        return None


def product_of(q: str) -> str | None:
    """The 13 digits of the product that was typed, spaces, dots and dashes left out; None for anything else."""
    try:
        return product(re.sub(r"[\s.-]", "", q))
    except ValueError:
        return None


def writings(q: str) -> Iterator[str]:
    """The ways in which it may have been written by who sent it."""
    yield from dict.fromkeys((q, q.replace(" ", ""), q.upper(), q.replace(" ", "").upper(), q.lower()))


async def ways(connection: AsyncConnection, q: str) -> dict[str, str]:
    """The ways that lead to any order, each with what to look for in that way; asks for one row of each."""
    found: dict[str, str] = {}
    for way in WAYS:
        if way == "starts" and (found or len(q) < SHORTEST):
            continue
        if (exact := await exactly(connection, way, q)) is not None:
            found[way] = exact
    return found


async def exactly(connection: AsyncConnection, way: str, q: str) -> str | None:
    """What to look for, as it is written in the journal; None when nothing goes by it."""
    if way == "product":
        code = product_of(q)
        return code if code and await product_queries.holding(connection, code, LAST, 1) else None
    for each in writings(q):
        if await look(connection, way, each, None, 1):
            return each
    return None


async def look(
    connection: AsyncConnection, way: str, q: str, after: Sequence[Any] | None, most: int = PAGE_ORDERS
) -> Sequence[Any]:
    """What goes by `q` in this way, from where the cursor's values say; one row more than `most` where there is one.

    Each row has id, pharmacy, reference, received_at, state, backend and reason.
    """
    if way == "starts":
        start, last = after or (q, FIRST)
        values = {"from": start, "after": last, "upto": q[:-1] + _next(q[-1]), "most": most + 1}
        return (await connection.execute(BY_BEGINNING, values)).all()
    [before] = after or [LAST]
    values = {"q": q, "before": before, "most": most + 1}
    if way in ("product", "erp"):
        if way == "product":
            ids = await product_queries.holding(connection, q, before, most + 1)
        else:
            ids = list((await connection.execute(BY_ERP, values)).scalars())
        return (await connection.execute(BY_IDS, {"ids": ids})).all() if ids else []
    return (await connection.execute(BY_PHARMACY if way == "pharmacy" else BY_REFERENCE, values)).all()


def place(way: str, row: Any) -> list[str]:
    """Where that row stands in the list of this way, as values of a cursor."""
    return [row.reference, str(row.id)] if way == "starts" else [str(row.id)]


def _next(letter: str) -> str:
    """The character after this one; no text in the journal has a surrogate or goes beyond the last."""
    code = ord(letter) + 1
    return chr(0xE000 if 0xD800 <= code <= 0xDFFF else min(code, 0x10FFFF))
