"""A forecast: when the backlog will be empty, as P50 and P95. Pure; cut-offs are in `forecast.cut_offs`.

A few hundred futures are played through: each takes its orders from one past week and an ERP's pace from the spread
of what was measured. All of them take the same chances whatever the question, so the same state of affairs gives the
same forecast, a faster ERP is never later, and a larger backlog never earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, exp, inf, log, log2
from random import Random
from statistics import NormalDist
from typing import Final, NamedTuple

from workers.forecast.arrivals import Arrivals
from workers.forecast.pace import Pace

PATHS: Final = 240
HORIZON: Final = 8 * 7 * 86400.0  # s; what is later is not foretold
SETTLED: Final = 0.01  # s, to which an end is worked out


@dataclass(frozen=True, slots=True)
class Start:
    """When forwarding goes on (s from now), and the window it goes on with, of `most` orders at most.

    The window doubles once a `turn`: the time (s) that an order is out, with the ERP and with us.
    """

    after: float
    window: float
    turn: float
    most: float

    @property
    def ceiling(self) -> float:
        """Orders a second that the largest window lets through."""
        return self.most / self.turn

    def served(self, seconds: float, pace: float) -> float:
        """Orders forwarded by then, if so many wait: by a window that doubles until the ERP's pace is reached."""
        since = seconds - self.after
        if since <= 0:
            return 0.0
        growth = log(2) / self.turn
        begins = self.window * growth
        ramp = 0.0 if pace <= begins else log(pace / begins) / growth
        if since <= ramp:
            return self.window * (exp(since * growth) - 1)
        return (max(pace / growth, self.window) - self.window) + pace * (since - ramp)

    def lasts(self, orders: float, pace: float) -> float:
        """Seconds from when forwarding goes on until so many orders are forwarded: `served`, the other way round."""
        growth = log(2) / self.turn
        ramped = max(pace / growth, self.window) - self.window
        if orders <= ramped:
            return log(orders / self.window + 1) / growth
        return self.ramp(pace) + (orders - ramped) / pace

    def ramp(self, pace: float) -> float:
        """Seconds until the window lets that pace through."""
        begins = self.window * log(2) / self.turn
        return self.turn * log2(pace / begins) if pace > begins else 0.0


@dataclass(frozen=True, slots=True)
class Round:
    """Orders of the backlog with one cut-off (s from now): how many, and the last one's place in the queue."""

    cut_off: float
    urgent: bool
    orders: int
    place: int


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a forecast follows from. `rest` is when the last order that waits for its next try is due (s)."""

    backlog: int
    arrivals: Arrivals
    pace: Pace
    start: Start
    rest: float = 0.0
    rounds: tuple[Round, ...] = ()
    urgent: float = 0.0  # share of new orders that go before normal ones


@dataclass(frozen=True, slots=True)
class Ends:
    """Seconds until the backlog is empty, in 5, 50 and 95 of 100 futures; `inf`: not within eight weeks."""

    p5: float
    p50: float
    p95: float


class Path(NamedTuple):
    """One future's chances: standard deviations of the pace and of the level, and where its past is drawn from."""

    pace: float
    level: float
    past: float


def ends(of: Situation) -> Ends:
    """When the backlog will be empty."""
    found = sorted(_end(of, path, pace) for path, pace in futures(of))
    return Ends(quantile(found, 0.05), quantile(found, 0.5), quantile(found, 0.95))


def paces(of: Situation) -> tuple[float, float, float]:
    """Orders a second that the ERP will take on average, at 5, 50 and 95 %."""
    found = sorted(pace for _, pace in futures(of))
    return quantile(found, 0.05), quantile(found, 0.5), quantile(found, 0.95)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def futures(of: Situation) -> list[tuple[Path, float]]:
    """Every path, with the pace (orders a second) that it gives the ERP."""
    middle = max(of.pace.middle, 1e-9)
    spread = of.pace.spread(of.backlog / middle)
    return [(path, min(of.start.ceiling, of.pace.at(path.pace, spread))) for path in _paths()]


@cache
def _paths() -> tuple[Path, ...]:
    """Chances spread evenly over what can happen, and mixed; the same at every call."""
    chance = Random(20241019)
    even = [NormalDist().inv_cdf((number + 0.5) / PATHS) for number in range(PATHS)]
    pasts = [(number + 0.5) / PATHS for number in range(PATHS)]
    mixed = (chance.sample(even, PATHS), chance.sample(even, PATHS), chance.sample(pasts, PATHS))
    return tuple(Path(*drawn) for drawn in zip(*mixed, strict=True))


def _end(of: Situation, path: Path, pace: float) -> float:
    """Seconds until nothing waits in this future; `inf` when that is not within HORIZON."""
    if not of.backlog:
        return 0.0
    past, level = _drawn(of.arrivals, path)
    period, past_orders, factor = of.arrivals.period, of.arrivals.past[past], level * of.arrivals.level
    full = of.start.after + of.start.ramp(pace)
    behind = pace * full - of.start.served(full, pace)  # orders that the ramp costs for good
    before, began = 0.0, 0.0
    while began < HORIZON:
        least, previous = inf, began
        for end, orders in zip(of.arrivals.ends, past_orders, strict=True):
            at = began + end
            served = pace * at - behind if at >= full else of.start.served(at, pace)
            waiting = of.backlog + factor * (before + orders) - served
            if waiting <= 0:
                return max(of.rest, _crossing(of, path, pace, previous, at))
            least, previous = min(least, waiting), at
        shrinks = pace * period - factor * past_orders[-1]
        if began >= full and shrinks <= 0:
            return inf
        periods = max(1, ceil(least / shrinks)) if began >= full else 1  # until the least of them may be none
        before, began = before + periods * past_orders[-1], began + periods * period
    return inf


def _crossing(of: Situation, path: Path, pace: float, low: float, high: float) -> float:
    """Where within a step the backlog runs out: there it can only once, since what is served never slows down."""
    while high - low > SETTLED:
        middle = (low + high) / 2
        empty = of.backlog + come(of.arrivals, path, middle) <= of.start.served(middle, pace)
        low, high = (low, middle) if empty else (middle, high)
    return high


def come(arrivals: Arrivals, path: Path, seconds: float) -> float:
    """Orders that will have come `seconds` from now, in this future."""
    past, level = _drawn(arrivals, path)
    return level * arrivals.by(seconds, past)


def _drawn(arrivals: Arrivals, path: Path) -> tuple[int, float]:
    return int(path.past * len(arrivals.past)), exp(path.level * arrivals.spread)
