"""The window finds what an ERP can take, stays there, and follows it, as a simulation and step by step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import Phase, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from tests.workers.delivery.erp_limit import Drain, Limit
from workers.delivery.backend_state import BatchCounts, Circuit
from workers.delivery.window import FORGET, GIVE, PACE, TOLL, grown, shrunk

NOW = datetime(2024, 10, 19, 12, tzinfo=UTC)
WELL = Circuit("closed", 60, 0, 0, NOW - timedelta(hours=1), None, NOW - timedelta(hours=1), None, None)
MOST = 2000


def met(answered: int = 0, failed: int = 0, retried: int = 0, throttled: int = 0, ago: float = 0.0) -> BatchCounts:
    return BatchCounts(answered, failed, throttled, NOW - timedelta(seconds=ago), 0.0, retried=retried)


@pytest.mark.parametrize(
    "limit",
    [Limit(6), Limit(6, 0.2), Limit(20, 0.2), Limit(60), Limit(60, 0.2), Limit(60, 0.3, period=60), Limit(100, 0.2)],
    ids=str,
)
@pytest.mark.parametrize("children", [2, 4])
def test_a_backlog_drains_at_the_limit_without_tripping_the_circuit(limit: Limit, children: int) -> None:
    drained = Drain(20_000, limit, children=children).run()
    at_the_limit = Drain(20_000, Limit(limit.orders), fixed=int(limit.orders), children=children).run()
    assert drained.trips <= 2
    assert drained.errors < 0.02
    assert drained.rate > 0.8 * at_the_limit.rate


@given_settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    limit=st.builds(Limit, st.integers(20, 60), st.floats(0, 0.2), st.floats(20, 120)),
    children=st.integers(2, 4),
    latency=st.floats(0.05, 0.4),
    seed=st.integers(0, 1000),
)
def test_whatever_the_limit_and_its_drift(limit: Limit, children: int, latency: float, seed: int) -> None:
    drained = Drain(4_000, limit, children=children, latency=latency, seed=seed).run()
    assert drained.trips <= 2
    assert drained.errors < 0.03, "a short drain pays its first meeting with the limit over few orders"


def test_what_fails_however_little_it_gets_keeps_its_window() -> None:
    drained = Drain(20_000, Limit(10**9, noise=0.003), hands=256).run()
    assert drained.circuit.window > 100


def test_it_remembers_where_it_failed_and_comes_back_to_it_step_by_step() -> None:
    failed = shrunk(replace(WELL, window=100), met(answered=96, retried=3), NOW)
    assert (failed.ceiling, failed.window) == (100, int(GIVE * 100))
    slow = grown(replace(failed, window=10), met(answered=10), MOST)
    assert slow.window == 20, "far below it doubles"
    assert grown(replace(failed, window=80), met(answered=80), MOST).window == failed.window, "and not past its mark"
    stepped = grown(replace(failed, shrunk_at=NOW - timedelta(1)), met(answered=PACE), MOST)
    assert (stepped.window, stepped.credit) == (failed.window + 1, 0)
    beyond = grown(replace(failed, window=FORGET * 100), met(answered=100), MOST)
    assert (beyond.ceiling, beyond.window) == (None, FORGET * 100 + 12)


def test_it_shrinks_once_for_all_that_was_claimed_before() -> None:
    once = shrunk(WELL, met(answered=30, retried=2), NOW)
    assert once.window < WELL.window
    assert shrunk(once, met(answered=30, retried=2, ago=1), NOW) == once
    assert grown(once, met(answered=30, ago=1), MOST) == once


def test_a_grumble_costs_credit_before_it_costs_the_window() -> None:
    rich = replace(WELL, ceiling=50, credit=PACE - 10)
    poorer = shrunk(rich, met(answered=30, retried=1), NOW)
    assert (poorer.window, poorer.credit) == (rich.window, PACE - 10 + 30 - TOLL)
    assert shrunk(poorer, met(answered=30, retried=4), NOW).window < rich.window


def test_an_erp_that_does_badly_gets_half_and_asked_for_a_pause_too() -> None:
    assert shrunk(WELL, met(answered=10, failed=5), NOW).window == 30
    assert shrunk(WELL, met(answered=50, throttled=1), NOW).window == 30
    assert shrunk(replace(WELL, window=1), met(failed=5), NOW).window == 1
