"""What Tryton alone does of all ERPs: price lists, warehouses, workers of its own, pages by place."""

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from config.embedded.leash import Leash
from tests.conformance.counterparts import connect, started
from tests.conformance.real_tryton import RealTryton
from tests.conformance.test_connector import all_taken, at, kinds, settled, submit
from tests.machines import tryton
from workers.erp.connectors import open_erp
from workers.erp.port import Erp, Evidence, Kind, OpenBarrier, Outcome, Submission
from workers.erp.tryton import calls, connector

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]


class Shut(OpenBarrier):
    """A barrier that stays shut once it is."""

    def __init__(self) -> None:
        self._open = True

    async def open(self) -> bool:
        return self._open

    def is_open(self) -> bool:
        return self._open

    def shut(self) -> None:
        self._open = False


@pytest.fixture(scope="module")
def shop(leash: Leash) -> Iterator[RealTryton]:
    with started(RealTryton, leash) as erp:
        yield erp


def mapped(order: Submission, **terms: str) -> Submission:
    """The order of a pharmacy whose mapping says so."""
    assert order.mapped is not None
    return replace(order, mapped=replace(order.mapped, **terms))


def test_a_sale_has_the_price_list_and_the_warehouse_of_the_mapping(shop: RealTryton) -> None:
    plain, order = shop.order(1), mapped(shop.order(2, 12), price_list="officines", warehouse=tryton.WAREHOUSE)
    assert all_taken(at(shop, lambda erp: settled(erp, [plain])))
    with shop.two_warehouses():
        assert all_taken(at(shop, lambda erp: settled(erp, [order])))
    assert shop.terms(order.id) == ("officines", tryton.WAREHOUSE, [Decimal("2.88"), Decimal("2.56")])


def test_a_sale_has_the_price_list_that_its_customer_has_in_tryton(shop: RealTryton) -> None:
    shop.gives_its_list("P07", "officines")
    own, other = shop.order(2, 12, party="P07"), shop.order(2, 12)
    assert all_taken(at(shop, lambda erp: settled(erp, [own, other])))
    assert shop.terms(own.id)[::2] == ("officines", [Decimal("2.88"), Decimal("2.56")])
    assert shop.terms(other.id)[::2] == (None, [Decimal("3.20"), Decimal("3.20")])


def test_a_product_that_tryton_itself_replaces_as_it_ships_is_told(shop: RealTryton) -> None:
    _, _, was, other = shop.spare()
    first, second = shop.of_article(was["code"], 1), shop.of_article(was["code"], 2)

    async def sell(erp: Erp) -> Outcome:
        assert all_taken(await settled(erp, [first]))
        await asyncio.to_thread(shop.withdraw, was["id"], other["id"])  # while we still believe that it is sold
        return (await settled(erp, [second]))[second.id]

    try:
        told = at(shop, sell, erp_allow_substitution=True)
    finally:
        shop.withdraw(was["id"], None)
    assert told.receipt is not None
    [line] = told.receipt.lines
    assert (line.substitute, line.accepted, line.back_ordered) == (other["code"], 2, 0)
    again = at(shop, lambda erp: erp.find([first.id, second.id], budget=60))
    found = [each.receipt.lines[0].substitute for each in again.values() if each.receipt]
    assert found == [None, other["code"]]


def test_a_planned_day_is_told_as_late_only_where_it_is_said_what_is_usual(shop: RealTryton) -> None:
    order = shop.back_order()
    told = at(shop, lambda erp: settled(erp, [order]))[order.id].receipt
    assert told is not None
    [line] = told.lines
    assert (line.accepted, line.back_ordered) == (0, 5)
    assert line.expected is not None and timedelta(1) < line.expected - datetime.now(UTC).date() < timedelta(5)
    for said in ("", "ships_within = 3\n"):
        with shop.usually(said):
            found = at(shop, lambda erp: erp.find([order.id], budget=60))[order.id].receipt
        assert found is not None
        assert (found.lines[0].accepted, found.lines[0].back_ordered, found.lines[0].expected) == (5, 0, None)


def test_a_sale_that_does_not_say_what_its_lines_were_sent_as_is_as_it_is(shop: RealTryton) -> None:
    order = shop.substitute()
    assert all_taken(at(shop, lambda erp: settled(erp, [order]), erp_allow_substitution=True))
    shop.sql("UPDATE sale_line SET note = split_part(note, ' ', 1)")  # as before articles stood there
    told = at(shop, lambda erp: erp.find([order.id], budget=60))[order.id].receipt
    assert told is not None
    assert told.lines[0].substitute is None


@pytest.mark.parametrize(("what", "said"), [("price_list", "no price list"), ("warehouse", "no warehouse")])
def test_what_tryton_does_not_have_is_named(shop: RealTryton, what: str, said: str) -> None:
    bad, good = mapped(shop.order(1), **{what: "nowhere"}), shop.order(1)
    told = at(shop, lambda erp: settled(erp, [bad, good]))
    assert (told[bad.id].kind, told[bad.id].detail) == (Kind.REFUSED, f"Tryton has {said} nowhere")
    effects = shop.effects()
    assert [effects[each.id] for each in (bad, good)] == [0, 1]


def test_orders_that_tryton_processes_by_itself_are_accepted_later(leash: Leash) -> None:
    with tempfile.TemporaryDirectory(prefix="relais-test-") as folder:
        erp = RealTryton(Path(folder), leash, workers=1)
        orders = [erp.order(number + 1) for number in range(3)]

        async def sell(connector: Erp) -> dict[UUID, Outcome]:
            erp.stop_queue()
            first = await submit(connector, orders)
            assert kinds(first) == {Kind.PENDING}
            assert kinds(await connector.poll([*first], budget=30)) == {Kind.PENDING}, "nobody has processed them"
            erp.start_queue()
            return await settled(connector, orders)

        try:
            erp.start()
            told = at(erp, sell)
            assert all_taken(told)
            assert erp.effects() == dict.fromkeys((each.id for each in orders), 1)
        finally:
            erp.close()


def test_a_receipt_for_more_than_was_ordered_shuts_the_barrier(shop: RealTryton) -> None:
    orders, barrier = [shop.order(2), shop.order(3)], Shut()

    async def sell() -> tuple[dict[UUID, Outcome], dict[UUID, Outcome]]:
        erp = open_erp(shop.settings(), barrier=barrier)
        try:
            return await erp.submit(orders[:1], budget=60), await erp.submit(orders[1:], budget=60)
        finally:
            await erp.close()

    with shop.overselling():
        first, second = asyncio.run(sell())
    assert {(each.kind, each.evidence) for each in first.values()} == {(Kind.SUSPICIOUS, Evidence.WRONG_LINES)}
    assert not barrier.is_open()
    assert kinds(second) == {Kind.UNSENT}
    effects = shop.effects()
    assert [effects[each.id] for each in orders] == [1, 0]


def test_without_the_index_two_at_once_make_two_sales_at_most_and_it_is_told(shop: RealTryton) -> None:
    order = shop.order(3)

    async def both() -> list[Outcome]:
        one, other = connect(shop), connect(shop)
        try:
            told = await asyncio.gather(*(each.submit([order], budget=60) for each in (one, other)))
            return [each[order.id] for each in told]
        finally:
            await asyncio.gather(one.close(), other.close())

    with shop.not_unique():
        told = asyncio.run(both())
        assert {each.kind for each in told} == {Kind.ACCEPTED}
        assert shop.effects()[order.id] == 2
        twice = [each for each in told if each.evidence is Evidence.TAKEN_TWICE]
        assert twice, "whoever came later has seen both"
        assert not Evidence.TAKEN_TWICE.conclusive
        assert all(number in twice[0].detail for number in shop.numbers(order.id))
        assert at(shop, lambda erp: erp.find([order.id], budget=60))[order.id].evidence is Evidence.TAKEN_TWICE
        shop.cancel_one(order.id)


def test_pages_lead_on_past_what_is_cancelled_meanwhile(shop: RealTryton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "MOST_LISTED", 2)
    monkeypatch.setattr(connector, "MOST_LISTED", 2)
    orders = [shop.order(number + 1) for number in range(5)]
    began = datetime.now(UTC)

    async def pages() -> list[UUID]:
        erp = connect(shop)
        try:
            assert kinds(await erp.submit(orders, budget=60)) == {Kind.ACCEPTED}
            found, after = list[UUID](), None
            while True:
                page = await erp.list(began, began + timedelta(hours=1), after=after, budget=20)
                found += [each.id for each in page.orders]
                await asyncio.to_thread(shop.cancel, orders[0].id)
                if (after := page.next) is None:
                    return found
        finally:
            await erp.close()

    assert asyncio.run(pages()) == [each.id for each in orders]
