"""The window of a backend: how many orders may be out at once, found by trying, as TCP finds what a path carries.

It starts small and doubles once per windowful, from FREE on grows by an eighth, until the ERP pushes back. Where that
was is remembered as the `ceiling`. From then on it doubles only up to GIVE of the ceiling, and then goes on step by
step, each step earned by orders that go well; at twice the ceiling, that one is forgotten.

Orders that the ERP turned away, even if a further try inside the attempt succeeded, cost TOLL orders' credit each: a
backend that fails a few orders in a thousand, whatever it gets, keeps its window; one pushed too hard loses it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from workers.delivery.backend_state import BatchCounts, Circuit

STANDING_QUEUE: Final = 2.0  # seconds in Redis before a claim, beyond which a larger window would only wait there
FREE: Final = 20  # orders out: up to here the window doubles while no ceiling is known
PACE: Final = 100  # orders at least that go well before the window takes a step
STEP: Final = 64  # a step is this fraction of the window, one order at least
TOLL: Final = 80  # orders' credit that an order costs which the ERP turned away
GIVE: Final = 0.85  # what is left of a window that met its ceiling
FORGET: Final = 2  # times its ceiling, at which a window has proved that ceiling wrong


def grown(was: Circuit, tally: BatchCounts, most: int) -> Circuit:
    """After a batch that the ERP answered: a larger window, of `most` orders at most, as far as it is earned."""
    earned = _earned(tally)
    if tally.unwell or earned <= 0 or tally.waited >= STANDING_QUEUE:
        return was
    ceiling = was.ceiling if was.ceiling is not None and was.window < FORGET * was.ceiling else None
    if ceiling is None:
        more = tally.answered if was.window < FREE else max(1, tally.answered // 8)
        return replace(was, window=min(most, was.window + more), ceiling=None, credit=0)
    near = min(most, int(GIVE * ceiling))
    if was.window < near:
        return replace(was, window=min(near, was.window + tally.answered))
    if tally.claimed_at < was.shrunk_at:
        return was
    credit = was.credit + earned
    if credit < max(PACE, was.window):
        return replace(was, credit=credit)
    return replace(was, window=min(most, was.window + max(1, was.window // STEP)), credit=0)


def shrunk(was: Circuit, tally: BatchCounts, now: datetime) -> Circuit:
    """A smaller window once per windowful that went badly: half of it, or GIVE of it when the ERP only grumbled."""
    earned = _earned(tally)
    if tally.claimed_at < was.shrunk_at or not (tally.unwell or earned < 0):
        return was
    credit = was.credit + earned
    if not tally.unwell and credit > -TOLL:
        return replace(was, credit=credit)
    window = was.window // 2 if tally.unwell else int(GIVE * was.window)
    return replace(was, window=max(1, window), ceiling=was.window, credit=0, shrunk_at=now)


def _earned(tally: BatchCounts) -> int:
    """Orders' credit that a batch earned, or cost."""
    return tally.answered - TOLL * tally.turned_away
