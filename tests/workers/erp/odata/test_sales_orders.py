"""An order as a sales order, and a sales order as a receipt."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest

from orders.model import parse
from tests.machines.erp import MEDICINES, an_order
from workers.erp.odata import sales_orders
from workers.erp.odata.options import OdataOptions
from workers.erp.port import Kind, Mapped, Outcome, Submission

ID = UUID("0192a3b4-c5d6-7e8f-9012-3456789abcde")


def options(**more: Any) -> OdataOptions:
    told = {"sales_organization": "1710", "distribution_channel": "10", "division": "00"}
    return OdataOptions.model_validate({**told, **more})


def submission(*quantities: int, warehouse: str | None = None) -> Submission:
    made = an_order(*quantities, order_id=ID)
    order = parse(made.body)
    articles = tuple(f"TG{number}" for number, _ in enumerate(order.lines, 11))
    return replace(made, order=order, mapped=Mapped("1000001", None, warehouse, articles))


def item(number: int, ordered: str, *confirmed: tuple[str, str | None], **more: Any) -> dict[str, Any]:
    lines = [
        {"ScheduleLine": str(n), "RequestedDeliveryDate": day(19), "ConfirmedDeliveryDate": when, **_boxes(boxes)}
        for n, (boxes, when) in enumerate(confirmed, 1)
    ]
    told = {
        "SalesOrderItem": str(10 * number),
        "HigherLevelItem": "000000",
        "MaterialByCustomer": MEDICINES[number - 1],
    }
    return {**told, "RequestedQuantity": ordered, "to_ScheduleLine": {"results": lines}, **more}


def _boxes(told: str) -> dict[str, str]:
    return {"ConfdOrderQtyByMatlAvailCheck": told}


def day(number: int) -> str:
    return f"/Date({int(datetime(2024, 10, number, tzinfo=UTC).timestamp()) * 1000})/"


def row(*items: dict[str, Any], number: str = "4711", order_id: UUID = ID) -> dict[str, Any]:
    reference = sales_orders.reference(order_id)
    return {"SalesOrder": number, "PurchaseOrderByCustomer": reference, "to_Item": {"results": [*items]}}


def outcome(told: dict[str, Any], **more: Any) -> Outcome:
    return sales_orders.read(told, options(**more)).outcome()


def test_an_id_as_customers_reference_fits_and_is_read_back() -> None:
    reference = sales_orders.reference(ID)
    assert len(reference) <= sales_orders.LONGEST < len(str(ID))
    assert sales_orders.order_of({"PurchaseOrderByCustomer": reference}) == ID
    assert sales_orders.order_of({"PurchaseOrderByCustomer": f" {reference.lower()} "}) == ID
    for other in ("", None, "4500012345", reference[:-1], f"{reference}0", str(ID)):
        assert sales_orders.order_of({"PurchaseOrderByCustomer": other}) is None


def test_what_is_sent_is_one_deep_insert() -> None:
    order = submission(2, 5, warehouse="PL01")
    assert order.order is not None
    assert sales_orders.values(order, options(unit="PC")) == {
        "SalesOrderType": "OR",
        "SalesOrganization": "1710",
        "DistributionChannel": "10",
        "OrganizationDivision": "00",
        "SoldToParty": "1000001",
        "PurchaseOrderByCustomer": ID.hex.upper(),
        "PurchaseOrderByShipToParty": order.order.reference[:35],
        "to_Item": [
            {
                "Material": f"TG1{n + 1}",
                "MaterialByCustomer": MEDICINES[n],
                "RequestedQuantity": quantity,
                "RequestedQuantityUnit": "PC",
                "ProductionPlant": "PL01",
            }
            for n, quantity in enumerate(("2", "5"))
        ],
    }


def test_a_note_goes_along_only_where_it_is_told_as_what() -> None:
    order = submission(2)
    assert order.order is not None
    order = replace(order, order=order.order.model_copy(update={"note": "ring twice"}))
    assert "to_Text" not in sales_orders.values(order, options())
    told = sales_orders.values(order, options(note_id="TX01", language="FR"))
    assert told["to_Text"] == [{"Language": "FR", "LongTextID": "TX01", "LongText": "ring twice"}]


def test_what_this_sap_does_not_have_is_neither_sent_nor_asked_for() -> None:
    lacking = ["OriginallyRequestedMaterial", "SalesDocumentRjcnReason", "to_ScheduleLine"]
    own = options(without=["PurchaseOrderByShipToParty", "ProductionPlant", *lacking])
    told = sales_orders.values(submission(2, warehouse="PL01"), own)
    assert "PurchaseOrderByShipToParty" not in told
    assert "ProductionPlant" not in told["to_Item"][0]
    assert "ScheduleLine" not in sales_orders.selection(own)
    assert "Rjcn" not in sales_orders.selection(own)
    assert "Originally" not in sales_orders.selection(own)
    assert "to_Item/OriginallyRequestedMaterial" in sales_orders.selection(options())


@pytest.mark.parametrize(
    ("items", "lines"),
    [
        ([item(1, "10.000", ("10.000", day(19)))], [(10, 0, None, None)]),
        ([item(1, "10.000", ("4.000", day(19)), ("6.000", day(24)))], [(4, 6, date(2024, 10, 24), "out of stock")]),
        ([item(1, "10.000", ("4.000", day(19)), ("0.000", None))], [(4, 6, None, "out of stock")]),
        ([item(1, "10.000", ("0.000", None))], [(0, 10, None, "out of stock")]),
        ([item(1, "10.000", ("3.000", day(21)), ("7.000", day(30)))], [(0, 10, date(2024, 10, 30), "out of stock")]),
        ([item(1, "10.000", ("10.000", day(18)))], [(10, 0, None, None)]),
        ([item(1, "10.000")], [(10, 0, None, None)]),
        ([item(1, "10.000", ("12.000", day(19)))], [(10, 0, None, None)]),
        (
            [item(1, "2", ("2", day(19))), item(2, "3", ("3", day(19)), SalesDocumentRjcnReason="51")],
            [(2, 0, None, None), (0, 0, None, "discontinued")],
        ),
        (
            [item(1, "2", ("2", day(19))), item(2, "3", ("3", day(19)), SalesDocumentRjcnReason="00")],
            [(2, 0, None, None), (0, 0, None, "rejected: 00")],
        ),
    ],
)
def test_what_sap_confirms_is_what_the_receipt_says(items: list[dict[str, Any]], lines: list[tuple[Any, ...]]) -> None:
    told = outcome(row(*items), reasons={"51": "discontinued"})
    assert told.kind is Kind.ACCEPTED
    assert told.receipt is not None
    assert [(one.accepted, one.back_ordered, one.expected, one.reason) for one in told.receipt.lines] == lines
    assert told.receipt.reference == "4711"


def test_a_material_that_sap_put_in_the_place_of_the_one_that_was_entered_is_told() -> None:
    entered = {"OriginallyRequestedMaterial": "TG11"}
    items = [
        item(1, "5", ("2", day(19)), ("3", day(24)), Material="TG12", **entered),
        item(2, "4", ("4", day(19)), Material="TG11", **entered),
        item(3, "1", ("1", day(19)), Material="TG12", OriginallyRequestedMaterial=""),
    ]
    told = outcome(row(*items)).receipt
    assert told is not None
    assert [(one.product, one.substitute, one.accepted, one.back_ordered) for one in told.lines] == [
        (MEDICINES[0], "TG12", 2, 3),
        (MEDICINES[1], None, 4, 0),
        (MEDICINES[2], None, 1, 0),
    ]


def test_items_stand_in_the_turn_of_their_numbers_and_those_that_sap_added_are_none() -> None:
    free = item(3, "1", SalesOrderItem="11", HigherLevelItem="000010")
    told = outcome(row(item(2, "5"), free, item(1, "2")))
    assert told.receipt is not None
    assert [(one.line, one.product, one.accepted) for one in told.receipt.lines] == [
        (1, MEDICINES[0], 2),
        (2, MEDICINES[1], 5),
    ]


def test_a_sales_order_that_is_rejected_whole_is_refused_and_comes_after_a_live_one() -> None:
    dead = row(item(1, "2", SalesDocumentRjcnReason="00"), number="1")
    live = row(item(1, "2"), number="2")
    assert outcome(dead).kind is Kind.REFUSED
    found = sales_orders.by_order(sales_orders.read(each, options()) for each in (dead, live))
    assert [each.number for each in found[ID]] == ["2", "1"]


def test_times_of_v2_are_read_whatever_their_offset() -> None:
    assert sales_orders.instant("/Date(1683923430388+0000)/") == datetime(2023, 5, 12, 20, 30, 30, 388000, UTC)
    assert sales_orders.instant("/Date(1683923430388+0120)/") == datetime(2023, 5, 12, 20, 30, 30, 388000, UTC)
    assert sales_orders.instant("/Date(-1)/") == datetime(1969, 12, 31, 23, 59, 59, 999000, UTC)
    assert sales_orders.instant(None) is None
    with pytest.raises(ValueError, match="no time"):
        sales_orders.instant("2023-05-12")


def test_what_is_listed_bears_an_id_and_its_day() -> None:
    told = sales_orders.listed({**row(), "CreationDate": "/Date(1729353600001)/"})
    assert told is not None
    assert (told.id, told.reference, told.at) == (ID, "4711", datetime(2024, 10, 19, tzinfo=UTC))
    assert sales_orders.listed({**row(), "PurchaseOrderByCustomer": "PO 17", "CreationDate": day(19)}) is None
