"""Operators' acts, whichever console they came from, told in the leader's log."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.telemetry import order_log

OVERLAP: Final = 100  # operations may be committed in another order than that of their numbers
NEWEST_OPERATION = text(
    "SELECT coalesce(max(id), 0) FROM operations WHERE at < clock_timestamp() - interval '1 minute'"
)
# A cancellation is the client's own, and has been told by the intake.
ACTS = text("""
SELECT id, operator, act, detail->>'backend' AS backend, detail->>'orders' AS orders FROM operations
WHERE id > :after AND act <> 'order cancel' ORDER BY id LIMIT 1000
""")


class OperatorLog:
    """Tells of each operator's act, from the journal, so that those of every console come into one log.

    What was done a minute before a lead or earlier is not told; what a leader told less than a minute before another
    one's lead stands in both their logs.
    """

    def __init__(self) -> None:
        """Lasts as long as the process, over all its leads."""
        self._begun = False
        self._newest = 0
        self._told: set[int] = set()

    def begin_lead(self) -> None:
        """Others may have led since, and told."""
        self._begun = False

    async def tell(self, connection: AsyncConnection) -> None:
        """A line for each act since the last time: who, what, to which backend, to how many orders."""
        if not order_log.wanted():
            return
        if not self._begun:
            before = (await connection.execute(NEWEST_OPERATION)).scalar_one()
            self._newest, self._begun = max(self._newest, before), True
            self._told |= {*range(before - OVERLAP, before + 1)}
        rows = (await connection.execute(ACTS, {"after": self._newest - OVERLAP})).all()
        fresh = [row for row in rows if row.id not in self._told]
        order_log.say(
            "operation",
            [{"operator": row.operator, "act": row.act, "backend": row.backend, "count": row.orders} for row in fresh],
        )
        self._newest = max([self._newest, *(row.id for row in fresh)])
        self._told = {i for i in self._told | {row.id for row in fresh} if i > self._newest - OVERLAP}
