"""A batch that is refused as a whole is halved until the guilty orders stand alone."""

import asyncio
import hashlib
import math
import random
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from workers.erp.bisecting import submit_bisecting
from workers.erp.port import Capabilities, Kind, Outcome, Submission


class Atomic:
    """An ERP that takes a batch whole or not at all; from call `fails_from` on it answers `failure`."""

    def __init__(
        self, guilty: set[UUID], size: int = 200, fails_from: int = 10**9, failure: Kind = Kind.TRANSIENT
    ) -> None:
        self.capabilities = Capabilities(atomic_batches=True, max_batch=size)
        self.guilty, self.fails_from, self.failure = guilty, fails_from, failure
        self.calls: list[list[UUID]] = []
        self.taken: list[UUID] = []
        self.budgets: list[float] = []

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        ids = [order.id for order in orders]
        self.calls.append(ids)
        self.budgets.append(budget)
        if len(self.calls) > self.fails_from:
            return dict.fromkeys(ids, Outcome(self.failure))
        if self.guilty & set(ids):
            return dict.fromkeys(ids, Outcome(Kind.REFUSED, f"{len(self.guilty & set(ids))} guilty"))
        self.taken += ids
        return dict.fromkeys(ids, Outcome(Kind.ACCEPTED))

    async def find(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        raise NotImplementedError

    poll = find

    async def probe(self) -> bool:
        return True

    async def close(self) -> None:
        pass


def some_orders(count: int) -> list[Submission]:
    return [Submission(uuid4(), b"{}", hashlib.sha256(b"{}").digest()) for _ in range(count)]


def submit(erp: Atomic, orders: Sequence[Submission], budget: float = 30.0) -> dict[UUID, Outcome]:
    return asyncio.run(submit_bisecting(erp, orders, budget))


@pytest.mark.parametrize(
    ("count", "guilty"), [(1, 0), (1, 1), (2, 1), (200, 0), (200, 1), (199, 3), (64, 64), (200, 9)]
)
def test_only_the_guilty_are_refused_in_few_calls(count: int, guilty: int) -> None:
    rng = random.Random(count * 1000 + guilty)
    orders = some_orders(count)
    bad = {order.id for order in rng.sample(orders, guilty)}
    erp = Atomic(bad)
    outcomes = submit(erp, orders)
    assert list(outcomes) == [order.id for order in orders]
    assert {order_id for order_id, outcome in outcomes.items() if outcome.kind is Kind.REFUSED} == bad
    assert sorted(erp.taken) == sorted(order.id for order in orders if order.id not in bad), "each taken exactly once"
    assert len(erp.calls) <= 1 + 2 * guilty * math.ceil(math.log2(max(count, 2)))
    assert all(outcomes[order_id].detail == "1 guilty" for order_id in bad), "its own reason, not its neighbours'"


def test_no_call_is_larger_than_the_backend_takes() -> None:
    orders = some_orders(130)
    erp = Atomic(set(), size=50)
    assert {outcome.kind for outcome in submit(erp, orders).values()} == {Kind.ACCEPTED}
    assert [len(call) for call in erp.calls] == [44, 43, 43], "of the same size"


def test_what_a_backend_takes_is_asked_before_each_batch() -> None:
    erp = Atomic(set(), size=10)
    took = erp.submit

    async def learn(orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        erp.capabilities = Capabilities(atomic_batches=True, max_batch=40)
        return await took(orders, budget=budget)

    erp.submit = learn  # type: ignore[method-assign]
    submit(erp, some_orders(90))
    assert [len(call) for call in erp.calls] == [10, 40, 40]


@pytest.mark.parametrize("failure", [Kind.TRANSIENT, Kind.THROTTLED, Kind.UNKNOWN, Kind.SUSPICIOUS, Kind.UNSENT])
def test_a_batch_that_fails_is_not_split_and_stops_the_rest(failure: Kind) -> None:
    orders = some_orders(100)
    erp = Atomic(set(), size=25, fails_from=1, failure=failure)
    kinds = [outcome.kind for outcome in submit(erp, orders).values()]
    assert kinds == [Kind.ACCEPTED] * 25 + [failure] * 25 + [Kind.UNSENT] * 50
    assert len(erp.calls) == 2


def test_halves_that_were_never_tried_are_unsent() -> None:
    orders = some_orders(8)
    erp = Atomic({orders[7].id}, fails_from=3)
    kinds = [outcome.kind for outcome in submit(erp, orders).values()]
    assert kinds == [Kind.ACCEPTED] * 4 + [Kind.TRANSIENT] * 2 + [Kind.UNSENT] * 2


def test_every_call_gets_what_is_left_of_the_budget() -> None:
    orders = some_orders(16)
    erp = Atomic({orders[3].id})
    submit(erp, orders, budget=5.0)
    assert erp.budgets == sorted(erp.budgets, reverse=True)
    assert all(0 < budget <= 5.0 for budget in erp.budgets)


@pytest.mark.parametrize("count", [0, 3])
def test_without_budget_nothing_is_sent(count: int) -> None:
    erp = Atomic(set())
    outcomes = submit(erp, some_orders(count), budget=0.0)
    assert [outcome.kind for outcome in outcomes.values()] == [Kind.UNSENT] * count
    assert erp.calls == []
