"""The circuit as a pure function, and that an outage cannot push it anywhere but open."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import Settings
from workers.delivery.backend_state import BatchCounts, Circuit
from workers.delivery.circuit_breaker import advance, pause

NOW = datetime(2024, 10, 19, 12, tzinfo=UTC)
SETTINGS = Settings(_env_file=None, trip_after=5, window_max=2000)
CLOSED = Circuit("closed", 64, 0, 0, NOW - timedelta(hours=1), None, NOW - timedelta(hours=1), None, None)
OPEN = replace(CLOSED, circuit="open", window=1, trips=1, changed_at=NOW, probe_at=NOW + timedelta(seconds=2))
HALF_OPEN = replace(OPEN, circuit="half_open", changed_at=NOW)


def met(answered: int = 0, failed: int = 0, throttled: int = 0, *, ago: float = 0.0, **more: object) -> BatchCounts:
    return BatchCounts(answered, failed, throttled, NOW + timedelta(seconds=1 - ago), 0.0, **more)  # type: ignore[arg-type]


def step(was: Circuit, tally: BatchCounts) -> Circuit:
    return advance(was, tally, SETTINGS, NOW + timedelta(seconds=2))


def test_failures_in_a_row_open_it_and_fewer_do_not() -> None:
    four = step(CLOSED, met(failed=4))
    assert (four.circuit, four.failures) == ("closed", 4)
    five = step(four, met(failed=1, error="connection refused"))
    assert (five.circuit, five.window, five.trips, five.why) == ("open", 1, 1, "connection refused")
    assert five.probe_at is not None and five.probe_at > NOW + timedelta(seconds=2)


def test_an_answer_between_failures_keeps_it_closed() -> None:
    was = CLOSED
    for _ in range(50):
        was = step(was, met(failed=4))
        was = step(was, met(answered=1))
    assert was.circuit == "closed"


def test_one_suspicious_answer_opens_it_at_once() -> None:
    assert step(CLOSED, met(answered=199, failed=1, suspicious="HTML with 200")).circuit == "open"


def test_a_canary_closes_or_opens_it() -> None:
    closed = step(HALF_OPEN, met(answered=1))
    assert (closed.circuit, closed.window, closed.trips, closed.why) == ("closed", 2, 0, None)
    again = step(HALF_OPEN, met(failed=1))
    assert (again.circuit, again.trips) == ("open", 2)


def test_the_window_doubles_once_per_windowful_and_halves_once() -> None:
    small = replace(CLOSED, window=8)
    assert step(step(small, met(answered=4)), met(answered=4)).window == 16
    grown = replace(CLOSED, window=128)
    first = step(grown, met(answered=10, failed=2))
    assert first.window == 64
    assert step(first, met(answered=10, failed=2)).window == 64, "claimed before the last halving"
    later = replace(met(failed=1), claimed_at=NOW + timedelta(seconds=3))
    assert step(first, later).window == 32


def test_a_lone_bad_order_does_not_shrink_the_window() -> None:
    assert step(CLOSED, met(answered=199, failed=1)).window > 64


def test_throttling_halves_the_window_and_never_opens_the_circuit() -> None:
    was = CLOSED
    for second in range(50):
        tally = replace(met(throttled=100), claimed_at=NOW + timedelta(seconds=10 * second))
        was = advance(was, tally, SETTINGS, NOW + timedelta(seconds=10 * second + 5))
    assert (was.circuit, was.window) == ("closed", 1)


def test_a_queue_that_stands_in_redis_does_not_grow_the_window() -> None:
    assert step(CLOSED, replace(met(answered=64), waited=10.0)).window == 64


def test_what_was_claimed_before_the_change_says_nothing() -> None:
    assert step(HALF_OPEN, met(answered=100, ago=10)).circuit == "half_open"
    assert step(HALF_OPEN, met(failed=100, ago=10)).circuit == "half_open"


def test_pauses_double_to_their_bound() -> None:
    assert [pause(trips) for trips in (1, 2, 3, 6, 1000)] == [2, 4, 8, 60, 60]


tallies = st.builds(
    met,
    answered=st.integers(0, 200),
    failed=st.integers(0, 200),
    throttled=st.integers(0, 200),
    ago=st.floats(-100, 100),
)


@given(st.lists(tallies, max_size=30))
def test_whatever_happens_the_window_stays_within_its_bounds(history: list[BatchCounts]) -> None:
    was = CLOSED
    for tally in history:
        was = step(was, tally)
        assert 1 <= was.window <= SETTINGS.delivery.window_max
        assert (was.circuit == "open") == (was.probe_at is not None)


@given(st.lists(st.integers(1, 200), min_size=5, max_size=30))
def test_failures_alone_always_end_open(failures: list[int]) -> None:
    was = CLOSED
    for failed in failures:
        was = step(was, met(failed=failed))
    assert was.circuit == "open"


def test_settings_refuse_a_lease_shorter_than_the_erp_may_take() -> None:
    with pytest.raises(ValueError, match="RELAIS_LEASE"):
        Settings(_env_file=None, batch_budget=30, lease=31)
    with pytest.raises(ValueError, match="RELAIS_ERP_TIMEOUT"):
        Settings(_env_file=None, erp_timeout=31, batch_budget=30)
