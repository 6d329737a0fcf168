"""The forecast is pure: what it promises whatever the figures, and how often simulated drains end where it said."""

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.cli.commands.recovery.forecast import moment, sentence
from workers.forecast.arrivals import DAYS, HOUR, LAST_HOURS, WEEK, WEEKS, Arrivals, learn, steady, steps, stretch
from workers.forecast.cut_offs import back_by, late
from workers.forecast.pace import BIN, Pace, PaceSample, busy, measured, unseen
from workers.forecast.queries import _back
from workers.forecast.simulation import Round, Situation, Start, ends, paces

ENDS = steps(WEEK)
NOW = Start(0.0, 2000.0, 0.3, 2000.0)
NONE = steady(0.0, HOUR)

several = settings(max_examples=20, deadline=None)  # an example plays through thousands of futures

paces_of = st.floats(0.05, 500.0)
starts = st.builds(Start, st.floats(0, 86400), st.floats(1, 2000), st.floats(0.05, 20), st.just(2000.0))


def weeks(rates: Sequence[float], swing: float = 0.9) -> Arrivals:
    """Past weeks of so many orders a second, more of them by day, which begins now; a swing below 0: at night."""
    bounds = (0.0, *ENDS)
    seen = [
        [
            (high - low) * rate * (1 + swing * math.sin(low / (12 * HOUR) * math.pi))
            for low, high in zip(bounds, ENDS, strict=False)
        ]
        for rate in rates
    ]
    return learn(seen, ENDS, WEEKS)


arrivals_of = st.lists(st.floats(0.0, 20.0), min_size=1, max_size=8).map(weeks)
situations = st.builds(
    Situation, st.integers(1, 200_000), arrivals_of, paces_of.map(lambda rate: Pace(rate, "as asked")), starts
)


@several
@given(situations, st.floats(1.0, 10.0))
def test_a_faster_erp_is_never_later(of: Situation, times: float) -> None:
    slow, fast = ends(of), ends(replace(of, pace=replace(of.pace, middle=of.pace.middle * times)))
    for name in ("p5", "p50", "p95"):
        assert getattr(fast, name) <= getattr(slow, name) + 0.02


@several
@given(situations, st.integers(1, 50_000))
def test_a_larger_backlog_is_never_earlier(of: Situation, more: int) -> None:
    small, large = ends(of), ends(replace(of, backlog=of.backlog + more))
    for name in ("p5", "p50", "p95"):
        assert getattr(small, name) <= getattr(large, name) + 0.02


@several
@given(situations)
def test_the_median_is_between_its_bounds_and_the_same_again(of: Situation) -> None:
    found = ends(of)
    assert 0 <= found.p5 <= found.p50 <= found.p95
    assert ends(of) == found
    slow, middle, fast = paces(of)
    assert slow <= middle <= fast


@several
@given(st.integers(1, 100_000), paces_of, st.floats(0, 1e6))
def test_an_erp_that_is_back_later_ends_later_by_as_much(backlog: int, rate: float, after: float) -> None:
    of = Situation(backlog, NONE, Pace(rate, "as asked"), NOW)
    soon, later = ends(of), ends(replace(of, start=replace(NOW, after=after)))
    if math.isfinite(later.p95):
        assert later.p50 - soon.p50 == pytest.approx(after, abs=0.05)
        assert later.p95 - soon.p95 == pytest.approx(after, abs=0.05)


@several
@given(situations, st.floats(0, 86400))
def test_what_comes_meanwhile_waits_too(of: Situation, more: float) -> None:
    later = replace(of, start=replace(of.start, after=of.start.after + more))
    assert ends(of).p50 <= ends(later).p50 + 0.02
    assert ends(later).p50 >= later.start.after


def test_the_figures_of_a_plain_case() -> None:
    of = Situation(7200, NONE, Pace(10.0, "as asked"), NOW)
    assert ends(of).p50 == pytest.approx(720, abs=1)
    half = replace(of, arrivals=weeks([5.0] * 4))
    assert 1000 < ends(half).p50 < 7200
    assert ends(replace(of, rest=5000.0)).p50 == 5000.0, "an order that waits for its next try"
    assert ends(replace(of, backlog=0)).p95 == 0


def test_never_when_more_comes_than_goes_and_in_the_night_when_it_can() -> None:
    of = Situation(50_000, weeks([5.0] * 4), Pace(4.9, "as asked"), NOW)
    assert ends(of).p50 == math.inf
    assert ends(replace(of, pace=Pace(8.0, "as asked"))).p95 < 8 * WEEK
    night = weeks([5.0] * 4, swing=-0.9)
    assert ends(replace(of, backlog=2000, arrivals=night)).p50 < 3 * HOUR, "at night less comes than goes"


def test_the_window_doubles_up_to_the_pace() -> None:
    start = Start(60.0, 1.0, 1.0, 2000.0)
    assert start.served(60.0, 100.0) == 0
    assert start.served(63.0, 100.0) == pytest.approx(7.0), "1 + 2 + 4"
    assert start.ramp(100.0) == pytest.approx(math.log2(100 / math.log(2)))
    assert start.served(1060.0, 100.0) - start.served(1059.0, 100.0) == pytest.approx(100.0)
    assert ends(Situation(10**6, NONE, Pace(10**6, "as asked"), start)).p50 >= 10**6 / start.ceiling


def test_a_cap_holds_whatever_was_measured() -> None:
    of = Situation(1000, NONE, Pace(50.0, "measured", lasting=0.3, most=5.0), NOW)
    assert paces(of) == (5.0, 5.0, 5.0)


def test_orders_that_miss_their_cut_off_are_counted_in_their_turn() -> None:
    rounds = (Round(100.0, True, 500, 500), Round(100.0, False, 1000, 1500), Round(300.0, False, 1000, 2500))
    of = Situation(5000, NONE, Pace(10.0, "as asked"), NOW, 0.0, rounds)
    assert [missed.p50 for missed in late(of)] == [0, 500, 0]
    assert [missed.p50 for missed in late(replace(of, start=replace(NOW, after=300.0)))] == [500, 1000, 1000]
    urgent = replace(of, arrivals=steady(4.0, HOUR), urgent=0.5)
    assert late(urgent)[0].p95 == 0
    assert late(urgent)[1].p50 == pytest.approx(700, abs=10), "new urgent orders go first"
    assert all(missed.p50 <= missed.p95 for missed in late(replace(of, pace=Pace(10.0, "", lasting=0.3))))


@several
@given(situations, st.lists(st.tuples(st.floats(1, 86400), st.booleans(), st.integers(1, 5000)), max_size=4))
def test_who_is_back_in_time_meets_the_cut_off(of: Situation, rounds: list[tuple[float, bool, int]]) -> None:
    of = replace(of, urgent=0.3, rounds=tuple(Round(at, urgent, count, count) for at, urgent, count in rounds))
    for number, latest in enumerate(back_by(of)):
        for after in (latest, latest - 100.0):
            if after >= 0:
                assert late(replace(of, start=replace(of.start, after=after)))[number].p95 == 0


def test_the_time_to_be_back_by_in_a_plain_case() -> None:
    rounds = (Round(100.0, True, 500, 500), Round(100.0, False, 1000, 1500), Round(300.0, False, 1000, 2500))
    of = Situation(5000, NONE, Pace(10.0, "as asked"), Start(60.0, 10.0, 0.3, 2000.0), 0.0, rounds)
    assert back_by(of) == pytest.approx([50, -50, 50], abs=2), "as much earlier as what goes before it takes"
    for after, missed in ((49, [0, 500 + 490, 0]), (51, [10, 500 + 510, 10])):
        found = late(replace(of, start=replace(of.start, after=float(after))))
        assert [few.p95 for few in found] == pytest.approx(missed, abs=12)
    assert back_by(replace(of, arrivals=steady(4.0, HOUR), urgent=0.5))[2] < 0, "new urgent orders go first"


# What comes.


def test_the_older_the_journal_the_longer_the_pattern() -> None:
    day = 24 * HOUR
    assert (stretch(0.0), stretch(2 * day - 1)) == (LAST_HOURS, LAST_HOURS)
    assert (stretch(2 * day), stretch(13 * day)) == (DAYS._replace(most=2), DAYS)
    assert (stretch(14 * day), stretch(400 * day)) == (WEEKS._replace(most=2), WEEKS)
    assert ENDS[:2] == (600.0, 1200.0)
    assert (ENDS[-1], len(ENDS)) == (WEEK, 36 + 162)


@given(arrivals_of, st.floats(0, 3 * WEEK), st.floats(0, WEEK))
def test_arrivals_accumulate_and_repeat(arrivals: Arrivals, seconds: float, more: float) -> None:
    assert arrivals.by(0.0, 0) == 0
    assert arrivals.by(seconds, 0) <= arrivals.by(seconds + more, 0) + 1e-6
    whole = arrivals.by(WEEK, 0)
    assert arrivals.by(WEEK + more, 0) == pytest.approx(whole + arrivals.by(more, 0), rel=1e-6, abs=1e-6)


def test_the_same_hour_is_the_same_on_the_clock_here(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        now = datetime(2026, 11, 2, 9, tzinfo=UTC)  # ten o'clock, a week after summer time ended
        assert _back(now, WEEKS, 1, 0.0) == datetime(2026, 10, 26, 9, tzinfo=UTC)
        assert _back(now, WEEKS, 2, 0.0) == datetime(2026, 10, 19, 8, tzinfo=UTC)
        assert _back(now, WEEKS, 2, HOUR) == datetime(2026, 10, 19, 9, tzinfo=UTC)
    time.tzset()


def test_a_burst_in_a_young_journal_does_not_last_eight_weeks() -> None:
    burst = steady(40.0, 60.0)
    assert [burst.by(seconds, 0) for seconds in (30, 60, HOUR)] == pytest.approx([1200, 2400, 2400 + 59 * 40])
    of = Situation(2000, burst, Pace(80.0, "between", lasting=1.0), NOW)
    assert ends(of).p95 < HOUR
    assert steady(4.0, 2 * HOUR).by(WEEK, 0) == pytest.approx(4.0 * WEEK)


def test_the_level_of_the_last_hours_is_half_believed() -> None:
    usual = [1000.0] * len(ENDS)
    busier = [*usual[:-6], *[4000.0] * 6]
    assert learn([usual, usual], ENDS, WEEKS).level == 1
    assert learn([busier, usual, usual], ENDS, WEEKS).level == pytest.approx(2**0.5), "never more than twice"
    more = [*usual[:-6], *[1440.0] * 6]
    assert learn([more, usual], ENDS, WEEKS).level == pytest.approx(1.2)
    assert learn([[0.0] * len(ENDS), [1.0] * len(ENDS)], ENDS, WEEKS).level == 1, "too few to say"


# The pace.


def bins(*orders: int, waited: float = 1.0, began: int = 0) -> dict[int, PaceSample]:
    return {began + number: PaceSample(count, int(count * waited)) for number, count in enumerate(orders) if count}


def test_only_busy_times_tell_the_pace() -> None:
    drain, trickle = bins(*[50] * 40), bins(*[2] * 400, waited=0.2, began=1000)
    pace = measured({**drain, **trickle})
    assert pace is not None
    assert pace.middle == pytest.approx(50)
    assert measured(trickle) is None
    assert measured({}) is None
    idle = unseen(trickle, 500.0)
    assert 2 < idle.middle < 500
    assert idle.at(-1.645, idle.spread(60)) == pytest.approx(2, rel=0.02)
    assert idle.at(1.645, idle.spread(60)) == pytest.approx(500, rel=0.02)


def test_the_ramp_and_broken_samples_at_the_ends_do_not_count() -> None:
    assert busy(bins(1, 2, 4, 8, 16, *[20] * 10, 3), BIN) == [16.0, *[20.0] * 10]
    settled_whole = measured(bins(100, *[0, 0, 0, 0, 100] * 3))
    assert settled_whole is not None
    assert settled_whole.middle == 20, "what is settled at once belongs to the silence before it"
    assert busy({0: PaceSample(5, 5)}, BIN) == []
    assert measured({0: PaceSample(5, 5)}) is None


def test_samples_that_differ_make_the_pace_unsure_and_a_long_drain_evens_them_out() -> None:
    chance = random.Random(1)
    calm, wild = bins(*[100] * 60), bins(*[chance.choice((40, 160)) for _ in range(60)])
    for found in (calm, wild):
        assert measured(found) is not None
    calm_pace, wild_pace = measured(calm), measured(wild)
    assert calm_pace is not None
    assert wild_pace is not None
    assert calm_pace.spread(60) < wild_pace.spread(60)
    assert wild_pace.spread(36_000) < wild_pace.spread(10) <= wild_pace.spread(1)


# Back-test.


def drain(seed: int, *, memory: float, samples: int) -> tuple[float, float, float]:
    """A world: an ERP whose pace wanders about its mean, weeks alike but not equal. P5, P95 and what happened (s)."""
    chance = random.Random(seed)
    mean, deviation = 8.0 * math.exp(chance.uniform(-0.5, 0.5)), 0.0

    def taken(seconds: float) -> float:
        nonlocal deviation
        deviation = memory * deviation + chance.gauss(0, 0.25 * math.sqrt(1 - memory**2))
        return max(0.05, mean * (1 + deviation)) * seconds

    def week() -> list[float]:
        level = 0.35 * mean * math.exp(chance.gauss(0, 0.1))
        came, before = [], 0.0
        for end in ENDS:
            usual = (end - before) * level * (1 + math.sin(before / (12 * HOUR) * math.pi))
            came.append(max(0.0, chance.gauss(usual, math.sqrt(usual) + 0.1 * usual)))
            before = end
        return came

    backlog = int(20_000 * math.exp(chance.uniform(-1.5, 0.7)))
    pace = measured({5 * number: PaceSample(orders := round(taken(5.0)), orders) for number in range(samples)})
    assert pace is not None
    found = ends(Situation(backlog, learn([week() for _ in range(6)], ENDS, WEEKS), pace, NOW))
    return found.p5, found.p95, _happened(float(backlog), list(accumulate(week())), taken)


def _happened(backlog: float, come: list[float], taken: Callable[[float], float]) -> float:
    truth = Arrivals(WEEK, ENDS, (tuple(come),), 1.0, 0.0, "what comes")
    seconds = served = 0.0
    while backlog + truth.by(seconds, 0) > served:
        served += taken(5.0)
        seconds += 5.0
    return seconds


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_nine_drains_of_ten_end_between_p5_and_p95(memory: float) -> None:
    drains = [drain(seed, memory=memory, samples=200) for seed in range(100)]
    inside = sum(low <= end <= high for low, high, end in drains)
    assert 80 <= inside <= 98, inside
    assert sum(end < low for low, _, end in drains) <= 14
    assert sum(end > high for _, high, end in drains) <= 14


# What an operator types and reads.


def test_a_time_is_typed_in_three_ways() -> None:
    now = datetime.now().astimezone()
    assert abs(moment("2h") - now - timedelta(hours=2)) < timedelta(minutes=1)
    clock = moment(f"{(now + timedelta(hours=3)):%H:%M}")
    assert timedelta(hours=2) < clock - now < timedelta(hours=4)
    assert timedelta(hours=20) < moment(f"{(now - timedelta(minutes=2)):%H:%M}") - now < timedelta(hours=25)
    later = (now + timedelta(days=3)).replace(microsecond=0)
    assert moment(later.isoformat()) == later
    assert moment(f"{later.replace(tzinfo=None).isoformat()}") == later
    for wrong in ("soon", "25:00", "2024-10-19T12:00", "2026-13-01", ""):
        with pytest.raises(ValueError, match="time"):
            moment(wrong)


def test_the_sentence_says_what_is_so() -> None:
    now = datetime.now().astimezone().replace(hour=3, minute=0, second=0)
    found = {
        "backend": "erp",
        "now": now,
        "backlog": 12_340,
        "p50": now + timedelta(hours=2),
        "why": None,
        "p95": now + timedelta(hours=3),
        "assumes": None,
    }
    assert sentence(found) == "The backlog of erp, 12,340 orders, will be empty at 05:00, and with 95 % by 06:00."
    canary = sentence({**found, "assumes": "the next canary gets through"})
    assert canary.startswith("If the next canary gets through, the backlog of erp, 12,340 orders, will be empty at 05")
    assert "as likely as not" in sentence({**found, "p95": None, "why": "it may not"})
    held = sentence({**found, "p50": None, "p95": None, "why": "erp is paused: stocktaking"})
    assert held == "No date for the 12,340 orders of erp: erp is paused: stocktaking."
    assert sentence({**found, "backlog": 0}) == "The backlog of erp is empty."
    far = sentence({**found, "p50": now + timedelta(days=2)})
    assert f"05:00 on {now + timedelta(days=2):%a %d %b}" not in far
    assert f"{now + timedelta(days=2):%a %d %b}" in far
