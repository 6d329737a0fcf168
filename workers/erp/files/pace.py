"""How often an order that is pending is looked at: soon at first, less often the longer the ERP takes.

Thousands of orders may wait for hours. What this process itself reads of an order is looked at at once; what another
worker read is seen within LONGEST.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from workers.erp.port import Outcome

SHARE: Final = 0.1  # of the time that an order has been pending: as long is it not looked at again
LONGEST: Final = 30.0  # seconds
MOST_REMEMBERED: Final = 50_000  # orders that are remembered


class PendingPace:
    """What was last seen of the orders that are pending, by the loop's time."""

    def __init__(self) -> None:
        self._seen: dict[UUID, tuple[float, float, Outcome]] = {}  # first and last look

    def lately(self, order_id: UUID, now: float) -> Outcome | None:
        """What was seen of an order, where it is too early to look again."""
        if order_id not in self._seen:
            return None
        first, last, outcome = self._seen[order_id]
        return outcome if now < last + min(SHARE * (last - first), LONGEST) else None

    def saw(self, order_id: UUID, outcome: Outcome, now: float) -> None:
        """Remember that it is pending."""
        first = self._seen[order_id][0] if order_id in self._seen else now
        if len(self._seen) >= MOST_REMEMBERED and order_id not in self._seen:
            self._seen.clear()
        self._seen[order_id] = (first, now, outcome)

    def forget(self, order_ids: set[UUID]) -> None:
        """Look at these the next time."""
        for each in order_ids & self._seen.keys():
            del self._seen[each]
