"""What one process lets a client spend, between two looks at what all of them spent."""

from hypothesis import given
from hypothesis import strategies as st

from workers.intake.rate_limit import ALMOST, RateLimit, _Bucket

NOWHERE = "redis://127.0.0.1:1/0"

rates = st.floats(0.01, 10_000)
bursts = st.integers(1, 1000)


@given(rates, bursts, st.lists(st.tuples(st.floats(0, 5), st.integers(1, 1000)), max_size=60))
def test_a_client_gets_its_burst_and_its_rate_and_no_more(
    rate: float, burst: int, asked: list[tuple[float, int]]
) -> None:
    bucket, now, taken = _Bucket(rate, burst, burst, 0.0), 0.0, 0
    for pause, wanted in asked:
        now, orders = now + pause, min(wanted, burst)
        if bucket.spend(orders, now) == 0:
            taken += orders
        assert taken <= burst + rate * now + len(asked) * ALMOST
    assert bucket.spent == taken


@given(rates, bursts, st.integers(1, 5000), st.integers(1, 5000))
def test_who_comes_back_when_told_to_is_let_in(rate: float, burst: int, first: int, second: int) -> None:
    bucket = _Bucket(rate, burst, burst, 0.0)
    assert bucket.spend(first, 0.0) == 0
    if pause := bucket.spend(second, 0.0):
        assert bucket.spend(second, pause) == 0


def test_what_is_more_than_a_burst_is_a_debt_to_be_waited_for() -> None:
    bucket = _Bucket(10.0, 20, 20, 0.0)
    assert bucket.spend(120, 0.0) == 0
    assert bucket.spend(1, 0.0) == 10.1
    assert bucket.spend(30, 0.0) == 12.0


def test_a_client_without_a_rate_needs_no_redis_and_no_event_loop() -> None:
    limit = RateLimit(NOWHERE)
    assert {limit.spend("front", 1000, None, None) for _ in range(100)} == {0.0}
    assert (limit.open, limit.errors) == (False, 0)
