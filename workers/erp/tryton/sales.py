"""An order as a sale of Tryton's, and a sale as what became of an order.

`reference` is the order's id, `description` the pharmacy's own reference; a line's `note` is the product's code as it
was ordered, whatever article it is in Tryton. So a sale says of itself which order it is, line by line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from workers.erp.port import ErpReceipt, ErpReceiptLine, Kind, Outcome, Submission
from workers.erp.tryton.names import Names

STALLED: Final = timedelta(seconds=30)  # a confirmed sale whose processing died with Tryton is processed by nobody

READ: Final = [
    "reference",
    "state",
    "number",
    "create_date",
    "write_date",
    "lines.note",
    "lines.quantity",
    "lines.type",
]
BEGUN: Final = ("draft", "quotation")
CONFIRMED: Final = "confirmed"
TAKEN: Final = ("processing", "done")
PARTS: Final = ("year", "month", "day", "hour", "minute", "second", "microsecond")


class Unknown(Exception):
    """Tryton has no such customer or article, or no price for it: what to say of the order."""


def values(order: Submission, names: Names, company: int, currency: int) -> dict[str, Any]:
    """What creates the sale. Raises Unknown."""
    assert order.order is not None
    assert order.mapped is not None
    party = names.parties.get(order.mapped.customer)
    if party is None:
        raise Unknown(f"Tryton has no customer {order.mapped.customer}")
    lines = zip(order.order.lines, order.mapped.articles, strict=True)
    return {
        "company": company,
        "currency": currency,
        "party": party.id,
        "invoice_address": party.address,
        "shipment_address": party.address,
        "payment_term": party.payment_term,
        "reference": str(order.id),
        "description": order.order.reference,
        "comment": order.order.note or "",
        "lines": [["create", [_line(line.product, line.quantity, article, names) for line, article in lines]]],
    }


def _line(product: str, quantity: int, article: str, names: Names) -> dict[str, Any]:
    found = names.products.get(article)
    if found is None:
        raise Unknown(f"Tryton has no product {article}")
    if found.price is None:
        raise Unknown(f"Tryton has no sale price of product {article}")
    return {
        "type": "line",
        "product": found.id,
        "quantity": quantity,
        "unit": found.unit,
        "unit_price": _decimal(found.price),
        "taxes": [["add", list(found.taxes)]],
        "note": product,
    }


def live(rows: Sequence[Mapping[str, Any]]) -> dict[UUID, list[Mapping[str, Any]]]:
    """The sales of each order, those that were not cancelled first, then in the turn in which they were made."""
    found: dict[UUID, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["state"] == "cancelled", row["id"])):
        found.setdefault(UUID(row["reference"]), []).append(row)
    return found


def stalled(found: Iterable[Sequence[Mapping[str, Any]]], now: datetime) -> list[int]:
    """The sales that are confirmed, and for so long not processed that nobody will."""
    first = (rows[0] for rows in found)
    return [row["id"] for row in first if row["state"] == CONFIRMED and instant(row["write_date"]) < now - STALLED]


def outcome(sale: Mapping[str, Any], kind: Kind = Kind.ACCEPTED) -> Outcome:
    """What a sale says of its order; `kind` where it is taken."""
    if sale["state"] == "cancelled":
        return Outcome(Kind.REFUSED, "the sale was cancelled in Tryton", 200)
    if sale["state"] not in TAKEN:
        return Outcome(Kind.PENDING, f"pending as {sale['number'] or sale['id']}", 200)
    return Outcome(kind, "", 200, receipt_of(sale))


def receipt_of(sale: Mapping[str, Any]) -> ErpReceipt:
    """A taken sale as a receipt: its number, and of each line what was ordered and how much of it is in the sale."""
    told = [line for line in sale["lines."] if line["type"] == "line"]
    lines = tuple(
        ErpReceiptLine(number, str(line["note"] or ""), int(line["quantity"] or 0))
        for number, line in enumerate(told, 1)
    )
    return ErpReceipt(str(sale["number"]), None, lines)


def place(row: Mapping[str, Any]) -> str:
    """Where a sale stands in the turn in which they were made."""
    return f"{instant(row['create_date']).isoformat()} {row['id']}"


def beyond(after: str | None) -> list[Any]:
    """The clauses of a search for what stands after a place; whatever is cancelled meanwhile moves nothing."""
    if after is None:
        return []
    told, number = after.split(" ")
    at = as_told(datetime.fromisoformat(told))
    return [["OR", ["create_date", ">", at], [["create_date", "=", at], ["id", ">", int(number)]]]]


def instant(told: Mapping[str, int]) -> datetime:
    """A time of Tryton's, which is UTC."""
    return datetime(**{name: told[name] for name in PARTS}, tzinfo=UTC)


def as_told(when: datetime) -> dict[str, Any]:
    """A time as Tryton reads it."""
    then = when.astimezone(UTC)
    return {"__class__": "datetime", **{name: getattr(then, name) for name in PARTS}}


def _decimal(value: Decimal) -> dict[str, str]:
    return {"__class__": "Decimal", "decimal": str(value)}
