"""Every kind of outcome, charged and not, has its disposition here."""

from datetime import UTC, datetime, timedelta

import pytest

from config.settings import Settings
from orders.states import Reason, State
from workers.delivery.circuit_breaker import pause
from workers.delivery.retry_policy import FAILED, Disposition, backoff, counts, decide, forgotten, pending, unfit
from workers.erp.outcomes import ANSWERED
from workers.erp.port import Kind, Outcome

NOW = datetime(2024, 10, 19, 12, tzinfo=UTC)
SETTINGS = Settings(_env_file=None, max_attempts=8)


def disposition(kind: Kind, attempts: int = 1, *, charged: bool = True, trips: int = 0, **more: object) -> Disposition:
    outcome = Outcome(kind, "why", **more)  # type: ignore[arg-type]
    return decide(outcome, attempts, charged=charged, trips=trips, settings=SETTINGS, now=NOW)


@pytest.mark.parametrize(
    ("kind", "state", "unsure"),
    [
        (Kind.ACCEPTED, State.DELIVERED, False),
        (Kind.DUPLICATE, State.DELIVERED, False),
        (Kind.PENDING, State.SUBMITTED, False),
        (Kind.REFUSED, State.DEAD, False),
        (Kind.TRANSIENT, State.ACCEPTED, False),
        (Kind.THROTTLED, State.ACCEPTED, False),
        (Kind.UNKNOWN, State.ACCEPTED, True),
        (Kind.SUSPICIOUS, State.ACCEPTED, True),
        (Kind.UNSENT, State.ACCEPTED, False),
        (Kind.ABSENT, State.ACCEPTED, False),
    ],
)
def test_every_kind_has_its_disposition(kind: Kind, state: State, unsure: bool) -> None:
    assert (disposition(kind).state, disposition(kind).unsure) == (state, unsure)


def test_every_kind_is_covered() -> None:
    assert set(Kind) - set(ANSWERED) - FAILED == {Kind.THROTTLED, Kind.UNSENT, Kind.ABSENT}


@pytest.mark.parametrize("kind", [Kind.TRANSIENT, Kind.UNKNOWN, Kind.THROTTLED, Kind.SUSPICIOUS])
def test_an_outage_costs_no_attempt_however_long(kind: Kind) -> None:
    spared = disposition(kind, 8, charged=False)
    assert (spared.state, spared.attempts, spared.failed_at) == (State.ACCEPTED, 7, NOW)


def test_only_an_order_that_fails_while_others_succeed_is_exhausted() -> None:
    assert disposition(Kind.TRANSIENT, 7).state is State.ACCEPTED
    dead = disposition(Kind.TRANSIENT, 8)
    assert (dead.state, dead.reason, dead.error) == (State.DEAD, Reason.EXHAUSTED, "why")


def test_an_order_that_failed_in_an_outage_leaves_the_next_canary_to_others() -> None:
    for trips in range(1, 8):
        step_back = disposition(Kind.TRANSIENT, charged=False, trips=trips).due_at - NOW
        assert step_back > timedelta(seconds=1.1 * pause(trips + 1))


def test_retry_after_is_honoured() -> None:
    assert disposition(Kind.THROTTLED, retry_after=900.0).due_at >= NOW + timedelta(seconds=900)


def test_a_failure_counts_when_the_order_failed_before_and_others_succeeded_since() -> None:
    before, after = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
    assert counts(NOW, (None, after)) and counts(NOW, (after, None))
    assert not counts(None, (after, after)), "a first failure may be the beginning of an outage"
    assert not counts(NOW, (None, before)), "an outage"


def test_what_is_unfit_was_not_tried() -> None:
    dead = unfit(Reason.STALE, "too old", 3, NOW)
    assert (dead.state, dead.reason, dead.attempts, dead.unsure) == (State.DEAD, Reason.STALE, 2, False)


def test_what_the_erp_decides_later_is_asked_about_again_and_what_it_forgot_goes_again() -> None:
    assert pending(Outcome(Kind.UNKNOWN), 2, NOW) == Disposition(State.SUBMITTED, NOW, 2)
    assert (forgotten(2, NOW).state, forgotten(2, NOW).attempts) == (State.ACCEPTED, 2)


def test_backoff_doubles_and_is_bounded() -> None:
    waits = [backoff(attempts, SETTINGS) for attempts in (1, 2, 3, 30, 32000)]
    for wait, middle in zip(waits, (2, 4, 8, 600, 600), strict=True):
        assert 0.8 * middle <= wait <= 1.2 * middle
