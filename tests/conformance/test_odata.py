"""What only SAP's services do: tokens, locks, pauses, answers in pieces, confirmations, two orders of one reference."""

import asyncio
import json
import logging
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from config.embedded.leash import Leash
from tests.conformance.sap import CapSalesOrders, MockSapSalesOrders
from tests.conformance.test_connector import BUDGET, all_taken, at, kinds, settled
from workers.erp.odata import calls
from workers.erp.port import Erp, Evidence, Kind, Listed, Outcome

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


@contextmanager
def running(kind: type[CapSalesOrders], leash: Leash) -> Iterator[CapSalesOrders]:
    with tempfile.TemporaryDirectory(prefix="relais-erp-") as directory:
        sap = kind(Path(directory), leash)
        sap.start()
        try:
            yield sap
        finally:
            sap.close()


@pytest.fixture(scope="module")
def cap(leash: Leash) -> Iterator[CapSalesOrders]:
    with running(CapSalesOrders, leash) as sap:
        yield sap


@pytest.fixture(scope="module")
def mock(leash: Leash) -> Iterator[MockSapSalesOrders]:
    with running(MockSapSalesOrders, leash) as sap:
        assert isinstance(sap, MockSapSalesOrders)
        yield sap


def fault(mock: MockSapSalesOrders, scenario: str, **more: object) -> None:
    """The mock does that once, to the next POST."""
    rule = {"method": "POST", "scenario": scenario, "count": 1, **more}
    url = f"http://127.0.0.1:{mock.port}/_mock/faults"
    request = urllib.request.Request(url, json.dumps(rule).encode(), {"Content-Type": "application/json"})
    urllib.request.urlopen(request).close()


def test_a_token_that_holds_no_longer_is_renewed_and_no_order_is_doubled(mock: MockSapSalesOrders) -> None:
    orders = [mock.order(n + 1) for n in range(3)]

    async def forward(erp: Erp) -> dict[UUID, Outcome]:
        assert await erp.probe()
        fault(mock, "csrf")
        return await erp.submit(orders, budget=BUDGET)

    assert all_taken(at(mock, forward))
    assert [mock.effects()[each.id] for each in orders] == [1] * 3


@pytest.mark.parametrize(
    ("scenario", "kind"), [("busy", Kind.THROTTLED), ("error", Kind.UNKNOWN), ("forbidden", Kind.TRANSIENT)]
)
def test_what_the_whole_service_answers(mock: MockSapSalesOrders, scenario: str, kind: Kind) -> None:
    order = mock.order(2)

    async def forward(erp: Erp) -> Outcome:
        assert await erp.probe()
        await erp.find([order.id], budget=BUDGET)
        fault(mock, scenario)  # meets the question before the order
        return (await erp.submit([order], budget=BUDGET))[order.id]

    told = at(mock, forward)
    assert told.kind is (Kind.TRANSIENT if kind is Kind.UNKNOWN else kind)
    assert told.retry_after == (30 if scenario == "busy" else None)
    assert mock.effects()[order.id] == 0
    assert all_taken(at(mock, lambda erp: settled(erp, [order])))


def test_an_answer_in_pieces_is_read_to_its_end(cap: CapSalesOrders, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = [cap.order(n + 1) for n in range(25)]  # the server cuts its answers after ten
    told = at(cap, lambda erp: settled(erp, orders))
    assert all_taken(told)
    assert [receipt.lines[0].accepted for each in orders if (receipt := told[each.id].receipt)] == [*range(1, 26)]

    async def pages(erp: Erp) -> list[list[Listed]]:
        found, after = list[list[Listed]](), None
        while True:
            since = datetime.now(UTC) - timedelta(hours=1)
            page = await erp.list(since, since + timedelta(hours=2), after=after, budget=BUDGET)
            assert page.failed is None
            found.append([*page.orders])
            if (after := page.next) is None:
                return found

    told_by_server = at(cap, pages)
    monkeypatch.setattr(calls, "MOST_LISTED", 7)
    told_by_us = at(cap, pages)
    flat = [[each.id for page in told for each in page] for told in (told_by_server, told_by_us)]
    assert flat[0] == flat[1]
    assert {each.id for each in orders} <= {*flat[0]}
    assert len(flat[0]) == len({*flat[0]})
    assert len(told_by_server) >= 3
    assert max(len(page) for page in told_by_us) <= 7


def test_what_is_confirmed_is_in_the_receipt(cap: CapSalesOrders) -> None:
    order = cap.order(10, 4)
    assert all_taken(at(cap, lambda erp: settled(erp, [order])))
    ((number,),) = cap.sql('SELECT SalesOrder FROM "SALES" WHERE PurchaseOrderByCustomer = ?', order.id.hex.upper())
    schedule = [("1", "2024-10-21", "2024-10-21", 6), ("2", None, "2024-10-24", 4)]
    for line, wanted, confirmed, boxes in schedule:
        cap.sql(
            'INSERT INTO "SALESScheduleLine" '
            "(SalesOrder, SalesOrderItem, ScheduleLine, RequestedDeliveryDate, ConfirmedDeliveryDate,"
            " ConfdOrderQtyByMatlAvailCheck) VALUES (?, '10', ?, ?, ?, ?)",
            number,
            line,
            wanted,
            confirmed,
            boxes,
        )
    cap.sql(
        'UPDATE "SALESItem" SET SalesDocumentRjcnReason = ? WHERE SalesOrder = ? AND SalesOrderItem = ?',
        "51",
        number,
        "20",
    )
    told = at(cap, lambda erp: erp.find([order.id], budget=BUDGET))[order.id]
    assert told.receipt is not None
    assert [(one.accepted, one.back_ordered, one.expected, one.reason) for one in told.receipt.lines] == [
        (6, 4, date(2024, 10, 24), "out of stock"),
        (0, 0, None, "rejected: 51"),
    ]
    cap.sql('UPDATE "SALESItem" SET SalesDocumentRjcnReason = ? WHERE SalesOrder = ?', "51", number)
    told = at(cap, lambda erp: erp.find([order.id], budget=BUDGET))[order.id]
    assert told.kind is Kind.REFUSED


def test_two_of_one_reference_are_told(cap: CapSalesOrders, caplog: pytest.LogCaptureFixture) -> None:
    order = cap.order(3)
    assert all_taken(at(cap, lambda erp: settled(erp, [order])))
    columns = "PurchaseOrderByCustomer, SalesOrganization, CreationDate"
    cap.sql(
        f'INSERT INTO "SALES" (SalesOrder, {columns}) SELECT \'0000088888\', {columns} FROM "SALES"'
        " WHERE PurchaseOrderByCustomer = ?",
        order.id.hex.upper(),
    )
    with caplog.at_level(logging.ERROR, "relais.erp"):
        told = at(cap, lambda erp: erp.find([order.id], budget=BUDGET))[order.id]
    assert (told.kind, told.evidence) == (Kind.ACCEPTED, Evidence.TAKEN_TWICE)
    (record,) = [each for each in caplog.records if each.message == "the ERP has an order more than once"]
    assert "0000088888" in record.why  # type: ignore[attr-defined]


def test_two_workers_at_once_are_two_sales_orders_at_most(mock: MockSapSalesOrders) -> None:
    order = mock.order(1)

    async def race(erp: Erp) -> None:
        told = await asyncio.gather(*(erp.submit([order], budget=BUDGET) for _ in range(2)))
        assert set().union(*(kinds(each) for each in told)) <= {Kind.ACCEPTED, Kind.DUPLICATE}

    at(mock, race)
    assert mock.effects()[order.id] in (1, 2)
