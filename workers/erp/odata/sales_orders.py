"""An order as a sales order of SAP's, and a sales order as what became of an order.

`PurchaseOrderByCustomer` is the order's id, an item's `MaterialByCustomer` the product's code as it was ordered,
whatever material it is in SAP. So a sales order says of itself which order it is, line by line; and SAP keeps the
material that an item was entered with (`OriginallyRequestedMaterial`) beside the one that it delivers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from pydantic_core import from_json

from workers.erp.failures import Met, Unfit
from workers.erp.odata.options import OdataOptions
from workers.erp.port import ErpReceipt, ErpReceiptLine, Kind, Listed, Outcome, Submission

ENTITIES: Final = "A_SalesOrder"
LONGEST: Final = 35  # characters of a customer's reference in SAP: an id with its hyphens has 36

_OURS: Final = re.compile(r"[0-9A-Fa-f]{32}")
_DATE: Final = re.compile(r"/Date\((-?[0-9]{1,17})([+-][0-9]{4})?\)/")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HEAD: Final = ("SalesOrder", "PurchaseOrderByCustomer")
_ITEM: Final = ("SalesOrderItem", "HigherLevelItem", "Material", "MaterialByCustomer", "RequestedQuantity")
_PERHAPS: Final = frozenset({"OriginallyRequestedMaterial", "SalesDocumentRjcnReason"})  # of an item
_SCHEDULE: Final = ("ScheduleLine", "RequestedDeliveryDate", "ConfirmedDeliveryDate", "ConfdOrderQtyByMatlAvailCheck")


@dataclass(frozen=True, slots=True)
class SalesOrder:
    """A sales order of SAP's: the order that it bears the id of, its number, whether every item was rejected, and its
    items as lines of a receipt.
    """

    order_id: UUID | None
    number: str
    rejected: bool
    lines: tuple[ErpReceiptLine, ...]

    def outcome(self, kind: Kind = Kind.ACCEPTED) -> Outcome:
        """What it says of its order; `kind` where it is taken."""
        if self.rejected:
            return Outcome(Kind.REFUSED, "the sales order was rejected in SAP", 200)
        return Outcome(kind, "", 200, ErpReceipt(self.number, None, self.lines))


def reference(order_id: UUID) -> str:
    """The customer's reference: the id's 32 digits in capitals, which SAP keeps as they are whether it keeps case or
    not.
    """
    return order_id.hex.upper()


def order_of(row: Mapping[str, Any]) -> UUID | None:
    """The order that a sales order bears the id of."""
    told = str(row.get("PurchaseOrderByCustomer") or "").strip()
    return UUID(hex=told) if _OURS.fullmatch(told) else None


def values(order: Submission, own: OdataOptions) -> dict[str, Any]:
    """What makes the sales order and its items, in one deep insert."""
    assert order.order is not None
    assert order.mapped is not None
    lines = zip(order.order.lines, order.mapped.articles, strict=True)
    note = order.order.note if own.note_id else None
    head = {
        "SalesOrderType": own.order_type,
        "SalesOrganization": own.sales_organization,
        "DistributionChannel": own.distribution_channel,
        "OrganizationDivision": own.division,
        "SoldToParty": order.mapped.customer,
        "PurchaseOrderByCustomer": reference(order.id),
        "PurchaseOrderByShipToParty": order.order.reference[:LONGEST],
        "PriceListType": order.mapped.price_list,
        "to_Item": [
            _known(
                {
                    "Material": article,
                    "MaterialByCustomer": line.product,
                    "RequestedQuantity": str(line.quantity),
                    "RequestedQuantityUnit": own.unit,
                    "ProductionPlant": order.mapped.warehouse,
                },
                own,
            )
            for line, article in lines
        ],
        "to_Text": note and [{"Language": own.language, "LongTextID": own.note_id, "LongText": note}],
    }
    return _known(head, own)


def selection(own: OdataOptions) -> str:
    """The options of a query that is answered with what `outcome` reads."""
    items = [*_ITEM, *sorted(_PERHAPS - own.without)]
    schedule = () if "to_ScheduleLine" in own.without else _SCHEDULE
    expand = "to_Item/to_ScheduleLine" if schedule else "to_Item"
    names = [*_HEAD, *(f"to_Item/{name}" for name in items), *(f"to_Item/to_ScheduleLine/{name}" for name in schedule)]
    return f"$expand={expand}&$select={','.join(names)}"


def read(row: Mapping[str, Any], own: OdataOptions) -> SalesOrder:
    """What SAP tells of a sales order. Raises what Python raises of what is none."""
    items = _items(row)
    rejected = bool(items) and all(each.get("SalesDocumentRjcnReason") for each in items)
    lines = tuple(_line(number, item, own) for number, item in enumerate(items, 1))
    return SalesOrder(order_of(row), str(row["SalesOrder"]), rejected, lines)


def by_order(found: Iterable[SalesOrder]) -> dict[UUID, list[SalesOrder]]:
    """The sales orders of each order, those that are not rejected first, then in the turn of their numbers."""
    told: dict[UUID, list[SalesOrder]] = {}
    for each in sorted(found, key=lambda each: (each.rejected, each.number)):
        if each.order_id is not None:
            told.setdefault(each.order_id, []).append(each)
    return told


def number(body: bytes) -> str:
    """Its number, in the answer to what made it. Raises Unfit."""
    try:
        return str(from_json(body)["d"]["SalesOrder"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unfit(Met.UNPARSABLE, f"made, but {type(error).__name__}") from None


def listed(row: Mapping[str, Any]) -> Listed | None:
    """A sales order that bears an order's id; SAP tells the day on which it took it. Raises as `read`."""
    order_id, created = order_of(row), instant(row["CreationDate"])
    if order_id is None or created is None:
        return None
    day = created.replace(hour=0, minute=0, second=0, microsecond=0)
    return Listed(order_id, None, str(row["SalesOrder"]), day)


def instant(told: str | None) -> datetime | None:
    """A time of OData V2's, `/Date(milliseconds)/`, whatever offset it is shown in; None where there is none.

    Raises ValueError.
    """
    if not told:
        return None
    found = _DATE.fullmatch(told)
    if found is None:
        raise ValueError(f"no time: {told[:40]}")
    return _EPOCH + timedelta(milliseconds=int(found[1]))


def as_day(when: datetime) -> str:
    """The day of a time, as a query names it."""
    return f"datetime'{when.astimezone(UTC):%Y-%m-%d}T00:00:00'"


def inlined(row: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """What an answer holds under the name of a navigation."""
    told = row.get(name) or {}
    found: list[Mapping[str, Any]] = told if isinstance(told, list) else told.get("results", [])
    return found


def _items(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The items that were ordered: none that SAP added, as goods that are free of charge or parts of a set."""
    items = inlined(row, "to_Item")
    ours = [each for each in items if each["MaterialByCustomer"] and not str(each["HigherLevelItem"] or "").strip("0")]
    return sorted(ours, key=lambda each: int(each["SalesOrderItem"]))


def _line(number: int, item: Mapping[str, Any], own: OdataOptions) -> ErpReceiptLine:
    product, ordered = str(item["MaterialByCustomer"]), _boxes(item["RequestedQuantity"])
    if why := item.get("SalesDocumentRjcnReason"):
        return ErpReceiptLine(number, product, 0, own.reasons.get(str(why), f"rejected: {why}"))
    now, last = _confirmed(item, ordered)
    return ErpReceiptLine(
        number,
        product,
        now,
        None if now == ordered else "out of stock",
        _instead(item),
        back_ordered=ordered - now,
        expected=last,
    )


def _instead(item: Mapping[str, Any]) -> str | None:
    """The material that SAP put in the place of the one that was entered."""
    entered, material = item.get("OriginallyRequestedMaterial"), item.get("Material")
    return str(material) if entered and material and material != entered else None


def _confirmed(item: Mapping[str, Any], ordered: int) -> tuple[int, date | None]:
    """How many of the boxes SAP confirms for the day that was asked for, and the last day for which it confirms more.

    An item without schedule lines is not checked for availability: it is confirmed whole.
    """
    lines = sorted(inlined(item, "to_ScheduleLine"), key=lambda each: int(each["ScheduleLine"]))
    if not lines:
        return ordered, None
    wanted = instant(lines[0]["RequestedDeliveryDate"])
    now, last = 0, None
    for each in lines:
        boxes, when = _boxes(each["ConfdOrderQtyByMatlAvailCheck"]), instant(each["ConfirmedDeliveryDate"])
        if boxes and (when is None or wanted is None or when <= wanted):
            now += boxes
        elif boxes and when is not None:
            last = max(last or when.date(), when.date())
    return min(now, ordered), last


def _boxes(told: str | None) -> int:
    """A quantity, which OData V2 writes as text; of a part of a box nobody has anything."""
    return int(Decimal(told or "0"))


def _known(fields: Mapping[str, Any], own: OdataOptions) -> dict[str, Any]:
    """Those that have a value and that this SAP has."""
    return {name: value for name, value in fields.items() if value is not None and name not in own.without}
