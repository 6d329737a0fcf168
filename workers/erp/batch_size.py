"""How many orders go in one call: the most that an ERP does within a share of the time that a call may take.

What a call costs beside its orders is shared by all of them, so the largest batch is the best one; but one that takes
too long is not known in the end, and is asked about. An order's cost changes with the ERP's other work: the size
follows it, by the time that batches take.
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 8  # orders, until it is known how long they take
MOST_ORDERS: Final = 100
SHARE: Final = 0.4  # of the time that a call may take
NEAR: Final = 0.8  # sizes that differ by less are the same


class BatchSize:
    """What one process has found out."""

    def __init__(self, timeout: float) -> None:
        """A call may take `timeout` seconds."""
        self.orders = FIRST
        self._timeout = timeout

    def took(self, orders: int, seconds: float, *, done: bool = True) -> None:
        """So many orders were done in one go in that time; where they were not, it says something of the size only when
        it was for lack of time.
        """
        if not done and seconds < self._timeout:
            return
        fitting = max(1, int(orders * SHARE * self._timeout / max(seconds, 1e-3)))
        if fitting < NEAR * min(orders, self.orders):
            self.orders = max(fitting, orders // 2, 1)
        elif NEAR * fitting > self.orders:
            self.orders = max(self.orders, min(MOST_ORDERS, 2 * orders, fitting))
