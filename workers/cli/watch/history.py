"""What a watch knows: what it saw last of each store, when that was, and how much went through between two looks.

Times are those of a monotonic clock in seconds, so that a clock that is set does not make a figure old.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

KEPT: Final = 600.0  # s of looks that are kept for the curves
COUNTED: Final = 10.0  # s over which a rate is taken
FLOWS: Final = ("accepted", "delivered", "failed")


@dataclass(slots=True)
class History:
    """The newest of everything. `journal` has the figures while it last answered, `queue` those of Redis."""

    found: Mapping[str, Any] | None = None
    journal: Mapping[str, Any] | None = None
    queue: Mapping[str, Any] | None = None
    journal_at: float = 0.0
    queue_at: float = 0.0
    totals: deque[tuple[float, int, int]] = field(default_factory=deque)

    def saw(self, found: Mapping[str, Any], at: float) -> None:
        """Take in a look (the document of `relais status --json`) made at `at`."""
        self.found = found
        if found["queue"]["reachable"]:
            self.queue, self.queue_at = found["queue"], at
        if found["journal"] is None:
            self.journal, self.journal_at = found, at
            states = found["orders"]
            self.totals.append((at, sum(states.values()), states["delivered"]))
        while self.totals and self.totals[0][0] < at - KEPT:
            self.totals.popleft()

    @property
    def journal_age(self) -> float | None:
        """Seconds since the journal answered; None while it does, or never has."""
        away = self.found is not None and self.found["journal"] is not None and self.journal is not None
        return time.monotonic() - self.journal_at if away else None

    @property
    def queue_age(self) -> float | None:
        """The same for Redis."""
        away = self.found is not None and not self.found["queue"]["reachable"] and self.queue is not None
        return time.monotonic() - self.queue_at if away else None

    def rates(self) -> dict[str, float]:
        """Orders a second: accepted and delivered over the last seconds, attempts that failed over a minute."""
        flow = self.journal["flow"] if self.journal else dict.fromkeys((*FLOWS, "seconds"), 0)
        rates = {name: flow[name] / flow["seconds"] if flow["seconds"] else 0.0 for name in FLOWS}
        if len(self.totals) > 1:
            last = self.totals[-1]
            first = next(each for each in self.totals if each[0] >= last[0] - COUNTED or each is self.totals[-2])
            rates["accepted"], rates["delivered"] = _between(first, last)
        return rates

    def curves(self, most: int) -> dict[str, list[float]]:
        """The rates between looks, the newest last, at most so many points: what is older is averaged into fewer."""
        steps = [_between(*pair) for pair in pairwise(self.totals)]
        size = max(1, -(-len(steps) // most))
        groups = [steps[max(0, end - size) : end] for end in range(len(steps), 0, -size)][::-1]
        columns = (("accepted", 0), ("delivered", 1))
        return {name: [sum(step[at] for step in group) / len(group) for group in groups] for name, at in columns}


def _between(first: tuple[float, int, int], last: tuple[float, int, int]) -> tuple[float, float]:
    """Orders accepted and delivered a second; what a resend takes back counts as none."""
    seconds = max(last[0] - first[0], 1e-3)
    return max(0.0, (last[1] - first[1]) / seconds), max(0.0, (last[2] - first[2]) / seconds)
