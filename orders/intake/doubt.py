"""When a journal that looks well is believed: later each time that it then refuses an order.

A look at it writes no order, so that it finds a journal on a full disk well. Without this the intake would go from one
store to the other twice a second, and each time an order would wait for both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from orders.journal import refused

FIRST: Final = 1.0  # seconds in which it is not believed, after the first time that it answered and refused; doubles
LONGEST_DOUBT: Final = 30.0  # seconds at most
STEADY: Final = 60.0  # seconds for which it has to take orders until it is believed at once again


class Doubt:
    """One intake's about its journal."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """There is none yet."""
        self._clock = clock
        self._found = self._until = float("-inf")
        self._times = 0

    def found(self) -> None:
        """A look found it well, which was believed."""
        self._found = self._clock()

    def lost(self, why: Exception | None) -> None:
        """It took no orders: it did not answer, or refused them soon after it was found."""
        now = self._clock()
        again = why is not None and refused(why) and now - self._found < STEADY
        self._until = now + min(LONGEST_DOUBT, FIRST * 2**self._times) if again else now
        self._times = min(self._times + 1, 10) if again else 0

    @property
    def over(self) -> bool:
        """Whether a look that finds it well is believed now."""
        return self._clock() >= self._until
