"""Orders yet to come: what came at the same hours of past weeks, brought to the level of the last hours.

A pharmacy's week repeats itself, so a past week is what the coming one may look like, and several of them show by
how much it may differ. A journal that is younger than two weeks is asked for past days, and one younger than two days
for its last hours; `basis` says which it was.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from orders.sentences import Code, Sentence

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
FINE: Final = 600.0  # s; half of an hour's orders come in its last ten minutes
NEAR: Final = 6 * HOUR  # so far ahead steps are fine, beyond it they are hours
COMPARED: Final = 6  # last hours that are held against the same hours of the past
ENOUGH: Final = 30  # orders in them, below which the comparison says nothing
MOST_LEVEL: Final = 2.0  # the level is half-believed, and never taken for more than twice the usual or less than half
TOLD: Final = 0.05  # a level that differs by less is not worth a word
UNSURE: Final = 0.5  # log-spread of a forecast from a single stretch of hours


class Stretch(NamedTuple):
    """A period of the past to learn from: its length (s), how many of them at most, and what tells of them."""

    period: float
    most: int
    told: Code


WEEKS: Final = Stretch(WEEK, 8, Code.PAST_WEEKS)
DAYS: Final = Stretch(DAY, 6, Code.PAST_DAYS)
LAST_HOURS: Final = Stretch(3 * HOUR, 1, Code.LAST_HOURS)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Orders to come within `period` s from now: by each of `ends` (s), cumulated, as each of `past` had it.

    `level` multiplies them, with a log-normal `spread`; after `period` it all begins again.
    """

    period: float
    ends: tuple[float, ...]
    past: tuple[tuple[float, ...], ...]
    level: float
    spread: float
    basis: Sentence

    def by(self, seconds: float, past: int) -> float:
        """Orders that will have come `seconds` from now, if things go as in that past period; before the spread."""
        rounds, rest = divmod(seconds, self.period)
        come = self.past[past]
        step = bisect_right(self.ends, rest)
        began, before = (self.ends[step - 1], come[step - 1]) if step else (0.0, 0.0)
        within = (come[step] - before) * (rest - began) / (self.ends[step] - began) if step < len(come) else 0.0
        return self.level * (rounds * come[-1] + before + within)

    def mean(self, seconds: float) -> float:
        """Orders a second over the next `seconds`, on average over the past periods."""
        return sum(self.by(seconds, past) for past in range(len(self.past))) / len(self.past) / seconds


def stretch(age: float) -> Stretch:
    """What a journal whose first order is `age` s old can be asked for."""
    if age >= 2 * WEEK:
        return WEEKS._replace(most=min(WEEKS.most, int(age // WEEK)))
    return DAYS._replace(most=min(DAYS.most, int(age // DAY))) if age >= 2 * DAY else LAST_HOURS


def steps(period: float) -> tuple[float, ...]:
    """Where the steps of a period end, in seconds: ten minutes each at first, hours after that."""
    near = [FINE * step for step in range(1, int(NEAR / FINE) + 1)]
    far = [NEAR + HOUR * step for step in range(1, int((period - NEAR) / HOUR) + 1)]
    return tuple(end for end in near + far if end <= period)


def learn(seen: Sequence[Sequence[float]], ends: tuple[float, ...], of: Stretch) -> Arrivals:
    """What past periods, the newest first, each as orders by step, say of the next."""
    level = _level(seen, ends)
    past = tuple(tuple(accumulate(period)) for period in seen)
    spread = 0.3 / len(seen)  # beside what the periods themselves show
    basis = Sentence(of.told, count=len(seen))
    told = Sentence(Code.LEVEL, basis=basis, level=level) if abs(level - 1) >= TOLD else basis
    return Arrivals(of.period, ends, past, level, spread, told)


def steady(rate: float, seconds: float) -> Arrivals:
    """Orders that go on coming as they did in the last `seconds`: `rate` a second, whatever the hour.

    A burst of minutes is no week: what was seen for less than an hour goes on for as long again, and after that as
    though the hour had brought nothing else.
    """
    basis, came = Sentence(Code.LAST_HOURS, minutes=seconds / 60), rate * seconds
    later = came / max(seconds, HOUR) * (WEEK - seconds)
    return Arrivals(WEEK, (seconds, WEEK), ((came, came + later),), 1.0, UNSURE, basis)


def _level(seen: Sequence[Sequence[float]], ends: tuple[float, ...]) -> float:
    """The last hours against the same hours of the periods before, half-believed: its square root."""
    if len(seen) < 2:
        return 1.0
    first = bisect_right(ends, ends[-1] - COMPARED * HOUR)
    newest, *before = (sum(period[first:]) for period in seen)
    usual = sum(before) / len(before)
    return float(min(MOST_LEVEL, max(1 / MOST_LEVEL, newest / usual))) ** 0.5 if usual >= ENOUGH else 1.0
