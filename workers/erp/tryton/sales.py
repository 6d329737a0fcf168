"""An order as a sale of Tryton's, and a sale as what became of an order.

`reference` is the order's id, `description` the pharmacy's own reference; a line's `note` is the product's code as it
was ordered, and the article that it was sent as. So a sale says of itself which order it is, line by line, and whether
another product stands in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from workers.erp.port import ErpReceipt, ErpReceiptLine, Kind, Mapped, Outcome, Submission
from workers.erp.tryton.names import Names
from workers.erp.tryton.prices import Wanted
from workers.erp.tryton.shipments import LineShipment

STALLED: Final = timedelta(seconds=30)  # a confirmed sale whose processing died with Tryton is processed by nobody
TURN: Final = timedelta(minutes=5)  # that one waits at most which Tryton's workers will process

READ: Final = [
    "reference",
    "state",
    "number",
    "sale_date",
    "create_date",
    "write_date",
    "lines.note",
    "lines.quantity",
    "lines.type",
    "lines.product",
]
CONFIRMED: Final = "confirmed"
BEGUN: Final = ("draft", "quotation", CONFIRMED)
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
    terms = _terms(order.mapped, names)
    lines = zip(order.order.lines, order.mapped.articles, strict=True)
    return {
        **{name: value for name, value in terms.items() if value is not None},
        "company": company,
        "currency": currency,
        "party": party.id,
        "invoice_address": party.address,
        "shipment_address": party.address,
        "payment_term": party.payment_term,
        "reference": str(order.id),
        "description": order.order.reference,
        "comment": order.order.note or "",
        "lines": [
            [
                "create",
                [_line(line.product, line.quantity, article, names, terms["price_list"]) for line, article in lines],
            ]
        ],
    }


def _terms(mapped: Mapped, names: Names) -> dict[str, int | None]:
    """Price list and warehouse, None where nobody names one. Raises Unknown."""
    try:
        price_list = names.price_list(mapped)
    except KeyError as error:
        raise Unknown(f"Tryton has no price list {error.args[0]}") from None
    warehouse = None if mapped.warehouse is None else names.warehouses.get(mapped.warehouse)
    if mapped.warehouse is not None and warehouse is None:
        raise Unknown(f"Tryton has no warehouse {mapped.warehouse}")
    return {"price_list": price_list, "warehouse": warehouse}


def _line(product: str, quantity: int, article: str, names: Names, price_list: int | None) -> dict[str, Any]:
    found = names.products.get(article)
    if found is None:
        raise Unknown(f"Tryton has no product {article}")
    price = names.prices.get(Wanted.of(found.id, found.taxes, price_list, quantity))
    if price is None:
        raise Unknown(f"Tryton has no sale price of product {article}")
    return {
        "type": "line",
        "product": found.id,
        "quantity": quantity,
        "unit": found.unit,
        "unit_price": _decimal(price),
        "taxes": [["add", list(found.taxes)]],
        "note": f"{product} {article}",
    }


def live(rows: Sequence[Mapping[str, Any]], shipped: Mapping[int, LineShipment]) -> dict[UUID, list[Mapping[str, Any]]]:
    """The sales of each order, those that were not cancelled first, then in the turn in which they were made; with what
    is `shipped` of their lines, by that name.
    """
    found: dict[UUID, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: (row["state"] == "cancelled", row["id"])):
        found.setdefault(UUID(row["reference"]), []).append({**row, "shipped": shipped})
    return found


def standing(found: Mapping[UUID, Sequence[Mapping[str, Any]]], now: datetime, *, queued: bool) -> dict[UUID, Any]:
    """The sale of each order that goes on only when somebody takes it on: it is not confirmed, or is so for so long
    not processed that nobody will. Where workers process what is `queued`, it may wait for its turn.
    """
    then = now - (TURN if queued else STALLED)
    return {
        each: rows[0]
        for each, rows in found.items()
        if rows[0]["state"] in BEGUN and (rows[0]["state"] != CONFIRMED or instant(rows[0]["write_date"]) < then)
    }


def outcome(sale: Mapping[str, Any], kind: Kind = Kind.ACCEPTED) -> Outcome:
    """What a sale says of its order; `kind` where it is taken."""
    if sale["state"] == "cancelled":
        return Outcome(Kind.REFUSED, "the sale was cancelled in Tryton", 200)
    if sale["state"] not in TAKEN:
        return Outcome(Kind.PENDING, f"pending as {sale['number'] or sale['id']}", 200)
    return Outcome(kind, "", 200, receipt_of(sale))


def receipt_of(sale: Mapping[str, Any]) -> ErpReceipt:
    """A taken sale as a receipt: its number, and of each line what was ordered, how much of it is in the sale, what is
    shipped in its place and what later.
    """
    told = [line for line in sale["lines."] if line["type"] == "line"]
    lines = tuple(_receipt_line(number, line, sale["shipped"][line["id"]]) for number, line in enumerate(told, 1))
    return ErpReceipt(str(sale["number"]), None, lines)


def _receipt_line(number: int, line: Mapping[str, Any], shipment: LineShipment) -> ErpReceiptLine:
    """Another article than the one that was sent is a substitute; a note without it is of a sale that others made."""
    product, _, article = str(line["note"] or "").partition(" ")
    quantity = int(line["quantity"] or 0)
    later = min(shipment.later, quantity)
    other = None if shipment.shipped == (article or shipment.product) else shipment.shipped
    return ErpReceiptLine(
        number, product, quantity - later, substitute=other, back_ordered=later, expected=shipment.expected
    )


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
