"""A pharmacy's orders, and of each what is missing and why: not delivered yet, dead, or taken by the ERP in part.

A page is PAGE_ORDERS orders along the index over (pharmacy, id), whatever is missing among them: it costs the same for
a pharmacy with ten orders and one with a hundred thousand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.receipt_lines import day_of, told
from orders.schema.sentence_column import SentenceColumn
from orders.states import State
from workers.console.i18n import N_, Words
from workers.console.masking import Text, line_reason, reference
from workers.console.search.explanation import outlook
from workers.console.search.order_life import backends_of
from workers.console.search.query import DELIVERY, LAST, OF_PHARMACY, PAGE_ORDERS

SHOWS: Final = {"all": N_("All orders"), "missing": N_("What is missing")}
SETTLED: Final = (State.DELIVERED, State.CANCELLED, State.DISCARDED)
MOST_LINES: Final = 20  # of an order that are named as missing

ORDERS: Final = text(f"""
SELECT o.id, o.reference, o.received_at, o.body, d.state, d.backend, d.due_at, d.lease_until, d.reason, d.error, d.why,
  d.settled_at, d.unsure, r.lines, clock_timestamp() AS now
FROM (SELECT id, reference, received_at, body FROM orders WHERE {OF_PHARMACY} LIMIT :most) o
{DELIVERY}
LEFT JOIN LATERAL (SELECT CAST(lines AS text) AS lines FROM receipts WHERE order_id = o.id
  ORDER BY received_at DESC LIMIT 1) r ON true
ORDER BY o.id DESC
""")


@dataclass(frozen=True, slots=True)
class Short:
    """A line that the ERP does not deliver as ordered: how many boxes it took, why fewer, of which product in its
    place, and what comes later.
    """

    product: str
    ordered: int
    accepted: int
    reason: Text
    substitute: str | None
    back_ordered: int
    expected: date | None


@dataclass(frozen=True, slots=True)
class Ordered:
    """One order of the pharmacy: its row, what happens to it next in words, the lines that came short, and how many
    more of these there are.
    """

    row: Any
    why: str
    short: Sequence[Short]
    further: int
    missing: bool


async def orders_of(
    connection: AsyncConnection, pharmacy: str, after: Sequence[Any] | None, words: Words
) -> list[Ordered]:
    """A page of a pharmacy's orders, the newest first, and one more where there is one."""
    [before] = after or [LAST]
    values = {"q": pharmacy, "before": before, "most": PAGE_ORDERS + 1}
    rows = (await connection.execute(ORDERS.columns(why=SentenceColumn()), values)).all()
    backends = await backends_of(connection)
    return [_ordered(row, backends, words) for row in rows]


def _ordered(row: Any, backends: Mapping[str, Any], words: Words) -> Ordered:
    short = _short(row) if row.state == State.DELIVERED else []
    missing = row.state not in SETTLED or bool(short)
    why = outlook(row, backends, row.now, words)
    return Ordered(row, why, short[:MOST_LINES], max(0, len(short) - MOST_LINES), missing)


def _short(row: Any) -> list[Short]:
    """By the newest receipt. Bodies and receipts are ours and verified, but a journal may have been tampered with."""
    try:
        ordered, accepted = json.loads(row.body)["lines"], json.loads(row.lines or "[]")
        return [
            Short(
                line["product"],
                line["quantity"],
                answer["accepted"],
                line_reason(answer["reason"]),
                answer["substitute"] and (reference(answer["substitute"]).shown or "…"),
                answer["back_ordered"],
                day_of(answer),
            )
            for line, answer in zip(ordered, told(accepted), strict=False)
            if answer["accepted"] < line["quantity"] or answer["substitute"]
        ]
    except (ValueError, TypeError, KeyError):
        return []
