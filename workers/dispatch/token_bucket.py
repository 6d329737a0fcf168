"""The rate at which a backend may get orders, over all workers: a token bucket in the leader's hands.

Every dispatch goes through the one leader, so its bucket is the whole truth. It holds a second's worth at most, which
is the longest pause of the dispatcher; a new leader begins with an empty one, so that no change of lead lets more
through. What is dispatched again, because nobody claimed it, counts again.
"""

from __future__ import annotations

import sys
from typing import Final

BURST: Final = 1.0  # seconds' worth that may go at once


class Bucket:
    """Tokens are orders; times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        """Without a limit until it is told one."""
        self._rate: float | None = None
        self._tokens = self._filled = 0.0

    def limit(self, rate: float | None, now: float) -> None:
        """From now on at most `rate` orders a second; None is no limit."""
        self._fill(now)
        if self._rate is None:
            self._tokens = 0.0
        self._rate = rate
        self._tokens = min(self._tokens, self._most())

    def allowance(self, now: float) -> int:
        """How many orders may go now."""
        if self._rate is None:
            return sys.maxsize
        self._fill(now)
        return int(self._tokens)

    def spend(self, orders: int) -> None:
        """So many have gone."""
        self._tokens -= orders

    def _fill(self, now: float) -> None:
        if self._rate is not None:
            self._tokens = min(self._most(), self._tokens + (now - self._filled) * self._rate)
        self._filled = now

    def _most(self) -> float:
        """A second's worth, one order at least."""
        return 0.0 if self._rate is None else max(1.0, self._rate * BURST)
