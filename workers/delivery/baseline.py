"""A backend's baseline: how long an order takes with it and how much it refuses when all is well, as moving averages.

A sudden share of refusals far from it is odd, no proof: a catalogue may have been replaced as well as an ERP.
It is told once for every ODD_LEAST refusals or more that it does not explain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from workers.delivery.backend_state import BatchCounts

SLOW: Final = 1000.0  # answers over which the baseline moves by half of a difference
QUICK: Final = 50.0  # answers after which an answer counts half among the recent ones
TIMED: Final = 200.0  # as SLOW, for the latency
NEVER_ODD: Final = 0.02  # share of refusals that is never odd
ODD_LEAST: Final = 8  # refusals
ODD: Final = 1e-6  # probability below which so many refusals are not chance


@dataclass(frozen=True, slots=True)
class Baseline:
    """The columns of a backend's row that say what is usual: `latency` in seconds and `refusing` as a share, None
    where nothing was learned yet; `answered` and `refused` are the recent orders, the older the less they count.
    """

    latency: float | None = None
    refusing: float | None = None
    answered: float = 0.0
    refused: float = 0.0


def learn(was: Baseline, met: BatchCounts, *, closed: bool) -> tuple[Baseline, str | None]:
    """The baseline after a batch, and what is odd about it, in words; only a flowing backend that is well teaches."""
    if not met.answered:
        return was, None
    fading = 0.5 ** (met.answered / QUICK)
    recent = replace(was, answered=was.answered * fading + met.answered, refused=was.refused * fading + met.refused)
    odd = _odd(recent)
    if odd is not None:
        recent = replace(recent, answered=0.0, refused=0.0)
    if not closed or met.unwell:
        return recent, odd
    share = met.refused / met.answered
    refusing = _moved(was.refusing or 0.0, share, met.answered / (met.answered + SLOW))
    latency = was.latency
    if met.seconds is not None:
        latency = _moved(
            met.seconds if latency is None else latency, met.seconds, met.answered / (met.answered + TIMED)
        )
    return replace(recent, refusing=refusing, latency=latency), odd


def _moved(was: float, to: float, by: float) -> float:
    return was + (to - was) * by


def _odd(baseline: Baseline) -> str | None:
    usual = max(baseline.refusing or 0.0, NEVER_ODD)
    answered, refused = round(baseline.answered), round(baseline.refused)
    if refused < ODD_LEAST or refused <= usual * answered or tail(answered, refused, usual) > ODD:
        return None
    return f"refused {refused} of the last {answered} orders or so, and usually {baseline.refusing or 0.0:.1%}"


def tail(tries: int, hits: int, chance: float) -> float:
    """The probability of `hits` or more in so many tries (binomial)."""
    if chance >= 1.0:
        return 1.0
    log, log_not = math.log(chance), math.log1p(-chance)
    ways = (
        math.lgamma(tries + 1) - math.lgamma(n + 1) - math.lgamma(tries - n + 1) + n * log + (tries - n) * log_not
        for n in range(hits, tries + 1)
    )
    return min(1.0, math.fsum(map(math.exp, ways)))
