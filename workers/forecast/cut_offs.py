"""Which cut-offs waiting orders will miss, and by when a backend that takes nothing must be back for each. Pure.

Orders go urgent first, then by cut-off; new urgent orders, at the share that they have of late, go before normal ones.
"""

from __future__ import annotations

from typing import NamedTuple

from workers.forecast.simulation import Path, Round, Situation, come, futures, quantile


class Late(NamedTuple):
    """Orders of a round that will miss its cut-off: in half of all futures at most, and in 95 of 100."""

    p50: int
    p95: int


def late(of: Situation) -> list[Late]:
    """How many orders of each round will miss their cut-off."""
    found = futures(of)
    missed = [sorted(_missed(of, each, path, pace) for path, pace in found) for each in of.rounds]
    return [Late(round(quantile(orders, 0.5)), round(quantile(orders, 0.95))) for orders in missed]


def back_by(of: Situation) -> list[float]:
    """When forwarding must go on at the latest for each round to be met whole in 95 of 100 futures.

    In seconds from now; below 0 it is too late already.
    """
    found = futures(of)
    early = [sorted((-_latest(of, each, path, pace) for path, pace in found)) for each in of.rounds]
    return [-quantile(latest, 0.95) for latest in early]


def _missed(of: Situation, each: Round, path: Path, pace: float) -> float:
    """Orders of the round that still wait at its cut-off, in this future."""
    served = of.start.served(each.cut_off, pace)
    return min(float(each.orders), max(0.0, each.place + _before(of, each, path) - served))


def _latest(of: Situation, each: Round, path: Path, pace: float) -> float:
    return each.cut_off - of.start.lasts(each.place + _before(of, each, path), pace)


def _before(of: Situation, each: Round, path: Path) -> float:
    """New orders that go before the round's, in this future."""
    return 0.0 if each.urgent else of.urgent * come(of.arrivals, path, each.cut_off)
