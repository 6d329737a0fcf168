"""Operators' acts, whichever console they came from, told in the leader's log, once the transactions that began before
them are over: so none is passed by, however late it commits.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.telemetry import order_log

BEGIN: Final = text("""
SELECT coalesce((SELECT tx + 1 FROM operations WHERE at < clock_timestamp() - interval '1 minute'
  AND tx < relais_tx_floor() ORDER BY id DESC LIMIT 1), 0)
""")
FLOOR: Final = text("SELECT relais_tx_floor()")
# A cancellation is the client's own, and has been told by the intake.
ACTS: Final = text("""
SELECT operator, act, detail->>'backend' AS backend, detail->>'orders' AS count FROM operations
WHERE tx >= :begun AND tx < :floor AND act <> 'order cancel' ORDER BY tx, id
""")


class OperatorLog:
    """Tells of each operator's act, from the journal, so that those of every console come into one log.

    What was done a minute before a lead or earlier is not told; what a leader told less than a minute before another
    one's lead stands in both their logs.
    """

    def __init__(self) -> None:
        """Lasts as long as the process, over all its leads."""
        self._begun: int | None = None  # the first transaction that is still to be told
        self._told = 0  # the transactions before this one have been, by this process

    def begin_lead(self) -> None:
        """Others may have led since, and told."""
        self._begun = None

    async def tell(self, connection: AsyncConnection) -> None:
        """A line for each act since the last time: who, what, to which backend, to how many orders."""
        if not order_log.wanted():
            return
        if self._begun is None:
            self._begun = max(self._told, int((await connection.execute(BEGIN)).scalar_one()))
        floor = int((await connection.execute(FLOOR)).scalar_one())
        rows = (await connection.execute(ACTS, {"begun": self._begun, "floor": floor})).mappings()
        order_log.say("operation", [dict(row) for row in rows])
        self._begun = self._told = floor
