"""A stage's gates as pure functions, and the bucket that bounds a backend's rate."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.dispatch.token_bucket import Bucket
from workers.replay.gates import (
    BRISK,
    PART,
    STAGES,
    AttemptCounts,
    Gates,
    after,
    before,
    failing,
    going_on,
    named,
    passed,
)

GATES = Gates(errors=0.02, slower=4.0, signed=False)


def test_stages_follow_each_other_and_the_ramp_is_the_last() -> None:
    assert [after(stage) for stage in STAGES] == [10, 100, 0, 0]
    assert [before(stage) for stage in STAGES] == [None, 1, 10, 100]
    assert (named(10), named(0)) == ("stage 10", "the ramp")
    assert passed(10, AttemptCounts(settled=10))
    assert not passed(10, AttemptCounts(settled=9))
    assert not passed(0, AttemptCounts(settled=1000))


@pytest.mark.parametrize(
    ("stage", "found", "holds"),
    [
        (1, AttemptCounts(answered=1, delivered=1), False),
        (1, AttemptCounts(failed=1), True),
        (10, AttemptCounts(answered=9, failed=1), True),
        (100, AttemptCounts(answered=98, failed=2), False),
        (100, AttemptCounts(answered=10, failed=3), True),
        (0, AttemptCounts(answered=400, failed=100, bad=2), False),
        (0, AttemptCounts(answered=400, failed=100, bad=3), True),
        (1, AttemptCounts(answered=1, refused=1), False),
        (10, AttemptCounts(answered=2, refused=2), True),
        (10, AttemptCounts(answered=1, delivered=1, unreceipted=1), True),
        (10, AttemptCounts(answered=1, delivered=1, unsigned=1), False),
    ],
)
def test_a_gate_fails_as_soon_as_the_stage_cannot_pass(stage: int, found: AttemptCounts, holds: bool) -> None:
    assert (failing(stage, found, GATES) is not None) == holds


def test_norms_are_the_backend_s_own() -> None:
    slow = AttemptCounts(answered=10, slow=3.0)
    assert failing(10, slow, GATES) is None, "no norm, no gate"
    assert "3.00 s, 0.80 s is allowed" in str(failing(10, slow, Gates(0.02, 4.0, False, latency=0.2)))
    assert failing(10, slow, Gates(0.02, 4.0, False, latency=1.0)) is None
    assert failing(10, AttemptCounts(answered=10, slow=BRISK), Gates(0.02, 4.0, False, latency=0.001)) is None
    assert failing(0, AttemptCounts(answered=PART[0] - 1, slow=9.0), Gates(0.02, 4.0, False, latency=0.1)) is None
    often = AttemptCounts(answered=100, refused=12)
    assert failing(100, often, GATES) is not None
    assert failing(100, often, Gates(0.02, 4.0, False, refusing=0.05)) is None
    unsigned = AttemptCounts(answered=1, delivered=1, unsigned=1)
    assert "verified" in str(failing(1, unsigned, Gates(0.02, 4.0, True)))


@given(st.floats(0.1, 500), st.lists(st.tuples(st.floats(0, 3), st.integers(0, 1000)), max_size=60))
def test_a_bucket_never_lets_more_through_than_its_rate(rate: float, asks: list[tuple[float, int]]) -> None:
    bucket, now, gone = Bucket(), 0.0, 0
    bucket.limit(rate, now)
    for pause, wanted in asks:
        now += pause
        orders = min(wanted, bucket.allowance(now))
        bucket.spend(orders)
        gone += orders
        assert gone <= rate * now + 1e-6, "a new leader begins with nothing"
        assert orders <= max(1.0, rate)


def test_a_bucket_without_a_rate_is_no_bound_and_a_changed_rate_holds_at_once() -> None:
    bucket = Bucket()
    assert bucket.allowance(0.0) > 10**9
    bucket.limit(10.0, 5.0)
    assert bucket.allowance(5.0) == 0
    assert bucket.allowance(60.0) == 10
    bucket.limit(2.0, 60.0)
    assert bucket.allowance(60.0) == 2
    bucket.limit(None, 60.0)
    assert bucket.allowance(60.0) > 10**9


def test_what_a_stopped_replay_goes_on_with_is_what_its_next_stage_takes() -> None:
    def goes_on(**stopped: Any) -> tuple[int, int]:
        return going_on({"hold": True, "staged": 0, "left": 150, **stopped})

    assert goes_on(state="holding", stage=10, passed=10) == (100, 100)
    assert goes_on(state="holding", stage=10, passed=10, left=60) == (100, 60)
    assert goes_on(state="holding", stage=10, passed=1) == (1, 1), "its gate failed: back to the last that was passed"
    assert goes_on(state="paused", stage=10, passed=1, staged=4) == (10, 6)
    assert goes_on(state="paused", stage=10, passed=1, staged=4, hold=False) == (10, 150), "it stops no more"
    assert goes_on(state="holding", stage=100, passed=100) == (0, 150)
