"""The ERP's pace: how many orders a second it takes when it has enough to do, and how sure that is.

It can only be seen while orders were waiting, so the newest receipts are cut into samples, and only those count in
which most orders had waited. How much the samples differ, and for how long they stay so, says how far the average of
the coming hours may lie from theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log, sqrt
from statistics import fmean, median
from typing import Final, NamedTuple

from orders.sentences import Code, Sentence

BIN: Final = 1.0  # s, the finest sample
WIDTHS: Final = (60.0, 20.0, 5.0, BIN)  # the widest that gives FEWEST_SAMPLES samples is taken
FEWEST_SAMPLES: Final = 6
MOST_SAMPLES: Final = 60  # samples at most: an ERP changes
LONGEST_GAP: Final = 30.0  # s without a receipt that do not end a run: a batch is settled whole
SAME: Final = 0.03  # an ERP is never twice quite the same: the least log-spread
LONE: Final = 0.4  # log-spread where a single sample is all there is
WIDEST: Final = 1.0  # the largest log-spread that samples are taken for


class PaceSample(NamedTuple):
    """What was delivered in some seconds, and how much of it had been waiting for its turn."""

    orders: int
    waited: int

    @property
    def busy(self) -> bool:
        """True when most of them had waited: the ERP had enough to do."""
        return self.orders > 0 and 2 * self.waited >= self.orders


@dataclass(frozen=True, slots=True)
class Pace:
    """Orders a second: the `middle`, and log-spreads: `lasting`, and `passing` for a drain of one second.

    What passes evens out in a long drain, down from `briefly`, its spread within one sample. `most` caps them all.
    """

    middle: float
    basis: Sentence
    lasting: float = 0.0
    passing: float = 0.0
    briefly: float = 0.0
    most: float = float("inf")

    def spread(self, seconds: float) -> float:
        """The log-spread of the average over a drain that takes about so long."""
        passes = min(self.briefly, self.passing / sqrt(max(seconds, 1.0)))
        return sqrt(self.lasting**2 + passes**2)

    def at(self, deviation: float, spread: float) -> float:
        """The pace that lies so many standard deviations from the middle."""
        return min(self.most, self.middle * exp(deviation * spread))


def measured(bins: Mapping[int, PaceSample]) -> Pace | None:
    """The pace that receipts show, by number of bin (of BIN s); None when the ERP was never seen busy."""
    for width in WIDTHS:
        samples = busy(bins, width)[-MOST_SAMPLES:]
        if len(samples) >= FEWEST_SAMPLES or (samples and width == BIN):
            return _of(samples, width)
    return None


def unseen(bins: Mapping[int, PaceSample], ceiling: float) -> Pace:
    """The pace of an ERP that was never seen busy: it lies between the best it did and a `ceiling`, at 5 and 95 %."""
    best = max(one.orders for one in _widened(bins, round(WIDTHS[1] / BIN)).values()) / WIDTHS[1]
    high = max(best, ceiling)
    basis = Sentence(Code.RATE_BETWEEN, best=best, ceiling=high)
    return Pace(sqrt(best * high), basis, lasting=max(0.1, log(high / best) / 3.29))


def busy(bins: Mapping[int, PaceSample], width: float) -> list[float]:
    """Orders a second in every sample of `width` s in which the ERP was busy, the newest last."""
    found: list[float] = []
    for run in _runs(_widened(bins, round(width / BIN)), int(LONGEST_GAP / width)):
        since = run[1:]  # what the first sample holds was partly worked on before it
        usual = median(since) if since else 0.0
        ramp = next((number for number, orders in enumerate(since) if 2 * orders >= usual), 0)
        whole = since[ramp:-1] if since and 2 * since[-1] < usual else since[ramp:]  # the last may have just begun
        found += [orders / width for orders in whole]
    return found


def _widened(bins: Mapping[int, PaceSample], times: int) -> dict[int, PaceSample]:
    wide: dict[int, PaceSample] = {}
    for number, one in bins.items():
        had = wide.get(number // times, PaceSample(0, 0))
        wide[number // times] = PaceSample(had.orders + one.orders, had.waited + one.waited)
    return wide


def _runs(bins: Mapping[int, PaceSample], silence: int) -> list[list[int]]:
    """Orders by bin, for every run of busy bins; up to `silence` empty ones in a row belong to a run."""
    runs: list[list[int]] = []
    last: int | None = None
    for number in sorted(bins):
        if not bins[number].busy:
            last = None
            continue
        if last is None or number - last - 1 > silence:
            runs.append([])
        else:
            runs[-1] += [0] * (number - last - 1)
        runs[-1].append(bins[number].orders)
        last = number
    return runs


def _of(samples: Sequence[float], width: float) -> Pace:
    count, mean = len(samples), fmean(samples)
    basis = Sentence(Code.RATE_SEEN, count=count, width=width)
    if count < 3:
        return Pace(mean, basis, lasting=LONE)
    spread = min(WIDEST, sqrt(sum((one - mean) ** 2 for one in samples) / (count - 1)) / mean)
    memory = _memory(samples)
    known = spread * sqrt(memory / count) * (1 + 1 / (count - 2))  # few samples know their own spread badly
    return Pace(mean, basis, min(WIDEST, max(SAME, known)), spread * sqrt(memory * width), spread)


def _memory(samples: Sequence[float]) -> float:
    """For how many samples a deviation lasts: (1 + r) / (1 - r) of the correlation r of neighbours.

    r of a short series is too low by about (1 + 3r) / n (Kendall 1954), which is put right.
    """
    count, mean = len(samples), fmean(samples)
    whole = sum((one - mean) ** 2 for one in samples)
    r = sum((one - mean) * (other - mean) for one, other in pairwise(samples)) / whole if whole else 0.0
    r = min(0.9, max(0.0, (count * r + 1) / (count - 3) if count > 3 else r))
    return (1 + r) / (1 - r)
