"""What is in hand is bounded, and let go of however a request ends; what is counted reads as Prometheus reads it."""

import asyncio
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from orders.api.connection import Connections
from orders.api.load_shedding import LONGEST_NAP, LoadShedder, Places, wait
from orders.api.metrics import ANSWERS, SIZES, Metrics, Now
from orders.errors import Busy, Conflict, JournalDown, KeyReused, Malformed, Throttled
from orders.intake.entries import Accepted
from orders.intake.store_switch import Mode


def test_a_request_past_the_bound_is_refused_at_once_and_costs_no_room() -> None:
    shedder = LoadShedder(2, 100)
    with shedder.enter("a"), shedder.enter("b"):
        for client in "abc":
            with pytest.raises(Busy), shedder.enter(client):
                pytest.fail("there was no room")
        assert shedder.requests.taken == 2
    assert shedder.requests.taken == 0
    with shedder.enter("a"), shedder.enter("b"):
        assert shedder.requests.taken == 2


@pytest.mark.parametrize("greedy", [1, 2, 5])
def test_however_many_take_all_that_they_get_there_is_a_place_for_another(greedy: int) -> None:
    places = Places(60)
    while any(places.room(f"greedy {number}") for number in range(greedy)):
        for number in range(greedy):
            if places.room(f"greedy {number}"):
                places.take(f"greedy {number}")
    assert places.taken == 60 - 60 // (greedy + 1)
    with places.hold("another"), pytest.raises(Busy):
        places.take("greedy 0")
    places.take("another")
    for number in range(greedy):
        places.free(f"greedy {number}", 60 // (greedy + 1))
    assert places.taken == 1


def test_bytes_past_the_bound_are_refused_and_those_held_let_go_of() -> None:
    shedder = LoadShedder(10, 100)
    with shedder.enter("a") as first:
        first.hold(30)
        first.hold(20)
        with pytest.raises(Busy), shedder.enter("a") as second:
            second.hold(1)
        assert (shedder.requests.taken, shedder.bytes.taken) == (1, 50)
        first.release(30)
        with shedder.enter("b") as third:
            third.hold(40)
            assert shedder.bytes.taken == 60
        assert shedder.bytes.taken == 20
    assert (shedder.requests.taken, shedder.bytes.taken) == (0, 0)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_request_that_fails_lets_go_of_all_that_it_held(error: type[BaseException]) -> None:
    shedder = LoadShedder(1, 100)
    with pytest.raises(error), shedder.enter("a") as hand:
        hand.hold(80)
        raise error
    assert (shedder.requests.taken, shedder.bytes.taken) == (0, 0)


def test_requests_that_are_cancelled_let_go_of_all_that_they_held() -> None:
    shedder = LoadShedder(10, 200)

    async def request() -> None:
        with shedder.enter("a") as hand:
            hand.hold(20)
            await asyncio.Event().wait()

    async def main() -> None:
        running = [asyncio.create_task(request()) for _ in range(7)]
        await asyncio.wait(running[5:])
        assert {type(task.exception()) for task in running[5:]} == {Busy}
        assert (shedder.requests.taken, shedder.bytes.taken) == (5, 100)
        for task in running[:3]:
            task.cancel()
        await asyncio.wait(running[:3])
        assert (shedder.requests.taken, shedder.bytes.taken) == (2, 40)
        for task in running[3:5]:
            task.cancel()
        await asyncio.wait(running)

    asyncio.run(main())
    assert (shedder.requests.taken, shedder.bytes.taken) == (0, 0)


class Pauses:
    """A rate that has room after so many pauses."""

    open, errors = False, 0

    def __init__(self, *pauses: float) -> None:
        self.pauses = list(pauses)
        self.asked: list[tuple[str, int, float | None, int | None]] = []

    def spend(self, client: str, orders: int, rate: float | None, burst: int | None) -> float:
        self.asked.append((client, orders, rate, burst))
        return self.pauses.pop(0) if self.pauses else 0.0

    async def close(self) -> None:
        pass


def test_a_batch_waits_until_there_is_room_and_asks_again_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", nap)
    limit = Pauses(0.25, 3600)
    asyncio.run(wait(limit, "front", 500, 10, None))
    assert naps == [0.25, LONGEST_NAP]
    assert limit.asked == [("front", 500, 10, None)] * 3


def read(
    metrics: Metrics,
    *,
    mode: Mode = Mode.JOURNAL,
    shedder: LoadShedder | None = None,
    rate: Pauses | None = None,
    listeners: int = 0,
) -> dict[str, float]:
    text = metrics.render(Now(mode, shedder or LoadShedder(1, 1), rate, listeners, Connections())).decode()
    return {
        sample.name + "".join(f",{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_orders_are_counted_by_what_was_answered() -> None:
    metrics = Metrics()
    for answer in (
        Accepted(uuid4(), False, "journal"),
        Accepted(uuid4(), False, "spill"),
        Accepted(uuid4(), True, "spill"),
        Conflict("1"),
        KeyReused("1"),
        Malformed([]),
        Throttled(1.0),
        Busy(""),
        JournalDown(""),
        RuntimeError(""),
    ):
        metrics.placed(answer)
    found = read(metrics)
    assert {answer: found[f"relais_intake_orders_total,{answer}"] for answer in ANSWERS} == {
        "accepted": 1,
        "spilled": 1,
        "repeated": 1,
        "conflict": 2,
        "malformed": 1,
        "unauthorised": 0,
        "forbidden": 0,
        "throttled": 1,
        "shed": 1,
        "unavailable": 1,
        "failed": 1,
    }


def test_requests_are_counted_by_route_and_class_of_status() -> None:
    metrics = Metrics()
    for route, status in [("/orders", 202), ("/orders", 200), ("/orders", 503), ('/o"d\n', 404)]:
        metrics.answered(route, status)
    found = read(metrics)
    assert (found["relais_intake_requests_total,/orders,2xx"], found["relais_intake_requests_total,/orders,5xx"]) == (
        2,
        1,
    )
    assert found['relais_intake_requests_total,/o"d\n,4xx'] == 1


def test_how_things_stand_is_told_as_of_the_reading() -> None:
    metrics, shedder, rate = Metrics(), LoadShedder(5, 100), Pauses()
    rate.open, rate.errors = True, 7
    with shedder.enter("a") as hand:
        hand.hold(42)
        found = read(metrics, mode=Mode.SPILL, shedder=shedder, rate=rate, listeners=3)
    assert [found[f"relais_intake_mode,{mode}"] for mode in Mode] == [0, 1, 0]
    assert (
        found["relais_intake_in_hand_requests"],
        found["relais_intake_in_hand_bytes"],
        found["relais_intake_listeners"],
    ) == (1, 42, 3)
    assert (found["relais_intake_rate_limit_open"], found["relais_intake_rate_limit_errors_total"]) == (1, 7)
    after = read(metrics, shedder=shedder)
    assert [after[f"relais_intake_mode,{mode}"] for mode in Mode] == [1, 0, 0]
    assert (after["relais_intake_in_hand_bytes"], after["relais_intake_rate_limit_open"]) == (0, 0)
    assert after["process_resident_memory_bytes"] > 1e6


def test_two_apps_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.placed(Busy(""))
    one.seconds.observe(0.1)
    assert read(other)["relais_intake_orders_total,shed"] == read(other)["relais_intake_seconds_count"] == 0


@given(st.lists(st.floats(0, 5000) | st.sampled_from(SIZES)))
def test_each_bucket_holds_what_is_not_above_its_bound(values: list[float]) -> None:
    metrics = Metrics()
    for value in values:
        metrics.group.observe(value)
    found = read(metrics)
    for bound in SIZES:
        assert found[f"relais_intake_group_orders_bucket,{bound}"] == sum(value <= bound for value in values)
    assert found["relais_intake_group_orders_bucket,+Inf"] == found["relais_intake_group_orders_count"] == len(values)
    assert found["relais_intake_group_orders_sum"] == pytest.approx(sum(values))
