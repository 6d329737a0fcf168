"""What every connector keeps with the ERP that it is for: an outcome for every order, and no order twice.

Each test counts what the ERP holds in its own store. `pytest tests/conformance --erp-kind tryton` tries another kind.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid4

import pytest

from orders.model import parse
from tests.conformance.counterparts import Counterpart, connect, wire_of
from tests.waiting import auntil
from workers.erp.bisecting import submit_bisecting
from workers.erp.port import Erp, Evidence, Kind, Listed, Outcome, Submission
from workers.erp.receipts import believed

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

T = TypeVar("T")
BUDGET = 60.0
MANY = 20  # orders in a batch that does not end well, where the counterpart says no other number (`many`)
TAKEN = {Kind.ACCEPTED, Kind.DUPLICATE}
NOT_TAKEN = {Kind.TRANSIENT, Kind.THROTTLED, Kind.UNSENT}


def at(counterpart: Counterpart, work: Callable[[Erp], Awaitable[T]], port: int | None = None, **settings: object) -> T:
    """Do something with a connector to it."""

    async def run() -> T:
        erp = connect(counterpart, port, **settings)
        try:
            return await work(erp)
        finally:
            await erp.close()

    return asyncio.run(run())


async def submit(erp: Erp, orders: Sequence[Submission]) -> dict[UUID, Outcome]:
    """As a worker does."""
    if erp.capabilities.atomic_batches:
        return await submit_bisecting(erp, orders, BUDGET)
    return await erp.submit(orders, budget=BUDGET)


async def settled(
    erp: Erp, orders: Sequence[Submission], before: dict[UUID, Outcome] | None = None
) -> dict[UUID, Outcome]:
    """What becomes of orders that are forwarded as a worker forwards them: asked about where that is not known, polled
    while they are pending, sent again where they are surely not there.

    Where two of one reference are possible it goes by what came of them `before`, and believes that they are absent
    only when it may; else they go again without a question.
    """
    told = {} if erp.capabilities.unique_reference else dict(before or {})
    sent = time.monotonic()

    async def over() -> bool:
        nonlocal sent
        unsure = [each.id for each in orders if each.id in told and told[each.id].kind is Kind.UNKNOWN]
        if unsure:
            found = await erp.find(unsure, budget=BUDGET)
            early = time.monotonic() < sent + erp.capabilities.absent_after
            told.update({each: said for each, said in found.items() if not (early and said.kind is Kind.ABSENT)})
        absent = [each for each in orders if each.id not in told or told[each.id].kind in {Kind.ABSENT, *NOT_TAKEN}]
        if absent:
            told.update(await submit(erp, absent))
            sent = time.monotonic()
        if pending := [each for each, outcome in told.items() if outcome.kind is Kind.PENDING]:
            told.update(await erp.poll(pending, budget=BUDGET))
        return all(told[each.id].kind in TAKEN | {Kind.REFUSED} for each in orders)

    await auntil(over, 120, 0.2, "every order is decided")
    return told


async def can_list(erp: Erp) -> bool:
    """What its connector says, and does."""
    page = await erp.list(datetime.now(UTC) - timedelta(seconds=1), datetime.now(UTC), after=None, budget=BUDGET)
    assert (page.failed is None) == erp.capabilities.can_list
    return erp.capabilities.can_list


def kinds(told: dict[UUID, Outcome]) -> set[Kind]:
    return {each.kind for each in told.values()}


def all_taken(told: dict[UUID, Outcome]) -> bool:
    assert [(each.kind, each.detail) for each in told.values() if each.kind not in TAKEN] == []
    return True


@contextmanager
def away(counterpart: Counterpart) -> Iterator[None]:
    """It is killed, and started again."""
    counterpart.kill()
    try:
        yield
    finally:
        counterpart.start()


def test_an_order_is_taken_with_all_of_its_lines(counterpart: Counterpart) -> None:
    orders = [counterpart.order(2, 5, 1), counterpart.order(99)]
    told = at(counterpart, lambda erp: settled(erp, orders))
    assert all_taken(told)
    receipts = [told[each.id].receipt for each in orders]
    assert [[line.accepted for line in receipt.lines] for receipt in receipts if receipt] == [[2, 5, 1], [99]]
    assert len({receipt.reference for receipt in receipts if receipt}) == 2
    effects = counterpart.effects()
    assert [effects[each.id] for each in orders] == [1, 1]


def test_an_order_that_it_has_is_not_taken_again(counterpart: Counterpart) -> None:
    order = counterpart.order(3)
    first = at(counterpart, lambda erp: settled(erp, [order]))[order.id]
    again = at(counterpart, lambda erp: settled(erp, [order]))[order.id]
    assert again.kind in TAKEN
    assert again.receipt == first.receipt
    assert counterpart.effects()[order.id] == 1


def test_one_that_was_never_sent_is_absent(counterpart: Counterpart) -> None:
    order, never = counterpart.order(1), uuid4()
    at(counterpart, lambda erp: settled(erp, [order]))
    told = at(counterpart, lambda erp: erp.find([order.id, never], budget=BUDGET))
    assert (told[order.id].kind, told[never].kind) == (Kind.ACCEPTED, Kind.ABSENT)


def test_an_order_that_it_refuses_costs_no_other_and_keeps_its_words(counterpart: Counterpart) -> None:
    bad = counterpart.refused()
    orders = [*(counterpart.order(n + 1) for n in range(3)), bad, *(counterpart.order(n + 1) for n in range(4))]
    told = at(counterpart, lambda erp: settled(erp, orders))
    assert {each.id for each in orders if told[each.id].kind is Kind.REFUSED} == {bad.id}
    assert len(told[bad.id].detail.split()) > 2
    effects = counterpart.effects()
    assert [effects[each.id] for each in orders] == [each is not bad for each in orders]


def test_another_product_is_told_where_it_may_be_and_elsewhere_is_evidence(counterpart: Counterpart) -> None:
    order, unasked = counterpart.substitute(), counterpart.substitute()
    told = at(counterpart, lambda erp: settled(erp, [order]), erp_allow_substitution=True)
    assert all_taken(told)
    receipt = told[order.id].receipt
    assert receipt is not None
    ordered = parse(order.body).lines[0]
    [line] = receipt.lines
    assert line.product == ordered.product
    assert line.substitute not in (None, line.product)
    assert line.accepted == ordered.quantity
    outcome = at(counterpart, lambda erp: decided(erp, unasked))
    assert (outcome.kind, outcome.evidence, outcome.receipt) == (Kind.SUSPICIOUS, Evidence.WRONG_LINES, None)
    assert str(line.substitute) in outcome.detail


async def decided(erp: Erp, order: Submission) -> Outcome:
    """What becomes of an order, judged as a worker judges what a poll tells."""
    outcome = (await submit(erp, [order]))[order.id]

    async def over() -> bool:
        nonlocal outcome
        if outcome.kind in (Kind.PENDING, Kind.UNKNOWN):
            told = (await erp.poll([order.id], budget=BUDGET))[order.id]
            echoed = erp.capabilities.echoes_digest
            outcome = believed(told, order.body, order.digest, substitutes=False, echoed=echoed)
        return outcome.kind not in (Kind.PENDING, Kind.UNKNOWN)

    await auntil(over, 120, 0.2, "the order is decided")
    return outcome


def test_what_comes_later_is_told_with_its_day_where_it_has_one(counterpart: Counterpart) -> None:
    order = counterpart.back_order()
    told = at(counterpart, lambda erp: settled(erp, [order]))
    assert all_taken(told)
    receipt = told[order.id].receipt
    assert receipt is not None
    ordered = parse(order.body).lines[0]
    [line] = receipt.lines
    assert line.back_ordered > 0
    assert line.accepted + line.back_ordered <= ordered.quantity
    assert line.expected is None or line.expected >= datetime.now(UTC).date()
    assert counterpart.effects()[order.id] == 1


def test_while_it_is_down_nothing_is_taken_and_nothing_is_lost(counterpart: Counterpart) -> None:
    orders = [counterpart.order(n + 1) for n in range(5)]
    with away(counterpart):
        assert at(counterpart, lambda erp: erp.probe()) is False
        assert kinds(at(counterpart, lambda erp: submit(erp, orders))) <= NOT_TAKEN
        assert kinds(at(counterpart, lambda erp: erp.find([orders[0].id], budget=5))) == {Kind.UNKNOWN}
    assert at(counterpart, lambda erp: erp.probe()) is True
    assert all_taken(at(counterpart, lambda erp: settled(erp, orders)))
    effects = counterpart.effects()
    assert [effects[each.id] for each in orders] == [1] * 5


def test_what_hangs_is_not_known_and_is_there_once_in_the_end(counterpart: Counterpart) -> None:
    orders = [counterpart.order(n + 1) for n in range(3)]

    async def hang(erp: Erp) -> dict[UUID, Outcome]:
        assert await erp.probe()  # connected, and logged in
        counterpart.freeze()
        try:
            return await erp.submit(orders, budget=3)
        finally:
            counterpart.thaw()

    told = at(counterpart, hang)
    assert kinds(told) <= {Kind.UNKNOWN, *NOT_TAKEN}
    assert all_taken(at(counterpart, lambda erp: settled(erp, orders, told)))
    effects = counterpart.effects()
    assert [effects[each.id] for each in orders] == [1] * 3


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3, 0.6, 0.8, 1.0, 1.2, 1.6])
def test_a_connection_that_is_cut_doubles_nothing(counterpart: Counterpart, seconds: float) -> None:
    orders = [counterpart.order(n + 1) for n in range(6)]
    with wire_of(counterpart) as wire:

        async def cut(erp: Erp) -> dict[UUID, Outcome]:
            assert await erp.probe()
            sending = asyncio.create_task(submit(erp, orders))
            await asyncio.sleep(seconds)
            wire.cut()
            return await sending

        told = at(counterpart, cut, wire.port)
    assert kinds(told) <= {Kind.UNKNOWN, Kind.PENDING, *NOT_TAKEN, *TAKEN}
    assert all_taken(at(counterpart, lambda erp: settled(erp, orders, told)))
    effects = counterpart.effects()
    assert [effects[each.id] for each in orders] == [1] * 6


@pytest.mark.parametrize("seconds", [0.02, 0.2, 0.6])
def test_it_is_killed_in_the_middle_of_a_batch(counterpart: Counterpart, seconds: float) -> None:
    many = getattr(counterpart, "many", MANY)
    orders = [counterpart.order(n % 7 + 1) for n in range(many)]

    async def kill(erp: Erp) -> dict[UUID, Outcome]:
        assert await erp.probe()
        sending = asyncio.create_task(submit(erp, orders))
        await asyncio.sleep(seconds)
        counterpart.kill()
        return await sending

    told = at(counterpart, kill)
    counterpart.start()
    assert all_taken(at(counterpart, lambda erp: settled(erp, orders, told)))
    effects = counterpart.effects()
    assert [effects[each.id] for each in orders] == [1] * many


def test_a_session_that_ends_costs_no_order(counterpart: Counterpart) -> None:
    orders = [counterpart.order(n + 1) for n in range(4)]

    async def log_out(erp: Erp) -> dict[UUID, Outcome]:
        assert await erp.probe()
        await asyncio.to_thread(counterpart.log_out)
        return await submit(erp, orders)

    assert kinds(at(counterpart, log_out)) <= {Kind.PENDING, *TAKEN}
    assert all_taken(at(counterpart, lambda erp: settled(erp, orders)))
    effects = counterpart.effects()
    assert [effects[each.id] for each in orders] == [1] * 4


def test_what_it_holds_is_listed_in_turn_orders_of_somebody_else_too(counterpart: Counterpart) -> None:
    since = datetime.now(UTC) - timedelta(seconds=2)
    orders = [counterpart.order(n + 1) for n in range(4)]
    at(counterpart, lambda erp: settled(erp, orders))
    planted = counterpart.plant()
    if not at(counterpart, can_list):
        told = at(counterpart, lambda erp: erp.find([each.id for each in orders], budget=BUDGET))
        assert [each.evidence for each in told.values() if each.evidence] == [Evidence.UNSENT_ORDER]
        assert str(planted) in "".join(each.detail for each in told.values())
        return

    async def read(erp: Erp) -> list[UUID]:
        assert erp.capabilities.can_list
        found, after, until = list[Listed](), None, datetime.now(UTC) + timedelta(seconds=60)
        while True:
            page = await erp.list(since, until, after=after, budget=BUDGET)
            assert page.failed is None
            found += page.orders
            if (after := page.next) is None:
                break
        assert [each.at for each in found] == sorted(each.at for each in found)
        return [each.id for each in found]

    listed = at(counterpart, read)
    assert {each.id for each in orders} | {planted} <= {*listed}
    assert len(listed) == len({*listed})


def test_what_a_restored_erp_has_forgotten_is_absent(counterpart: Counterpart) -> None:
    order = counterpart.order(2)
    at(counterpart, lambda erp: settled(erp, [order]))
    counterpart.forget()
    assert at(counterpart, lambda erp: erp.find([order.id], budget=BUDGET))[order.id].kind is Kind.ABSENT
    assert at(counterpart, lambda erp: settled(erp, [order]))[order.id].kind in TAKEN
    assert counterpart.effects()[order.id] == 1


def test_credentials_that_are_no_longer_good_are_no_fault_of_an_order(counterpart: Counterpart) -> None:
    orders = [counterpart.order(1), counterpart.order(2)]
    counterpart.lock_out()
    told = at(counterpart, lambda erp: submit(erp, orders))
    assert kinds(told) <= NOT_TAKEN
    assert at(counterpart, lambda erp: erp.probe()) is False
    assert [counterpart.effects()[each.id] for each in orders] == [0, 0]
