"""Which processes are dead, so that what they hold is taken back at once (`workers.trust.life` says why that is safe).

The leader buries a process while it holds that one's lock: nobody can come back to a number at the same moment. The
number is remembered for as long as a statement of the dead may still run, and what such a one claimed is taken back
as well. What the dead had popped and nobody has claimed is dispatched again.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workers.trust.life import LIFE_LOCK, LOST, prefix
from workers.trust.processes import machine, runs

log = logging.getLogger("relais.dispatcher")

LOOK: Final = 0.5  # seconds between two looks at all locks, however often orders wake the leader
REMEMBERED: Final = 30.0  # seconds, longer than any statement takes

SILENT = text(f"""
SELECT number, machine, pid, born, clock_timestamp() AS now FROM processes
WHERE number NOT IN (SELECT CAST(objid AS bigint) FROM pg_locks
  WHERE locktype = 'advisory' AND granted AND classid = {LIFE_LOCK} AND objsubid = 2
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
""")
TAKE = text(f"SELECT pg_try_advisory_lock({LIFE_LOCK}, :number)")
LEAVE = text(f"SELECT pg_advisory_unlock({LIFE_LOCK}, :number)")
BURY = text("DELETE FROM processes WHERE number = :number")


@dataclass(frozen=True, slots=True)
class Dead:
    """How the leases of the dead begin, and when the last of them was `noticed` (journal's clock): None unless now."""

    prefixes: list[str]
    noticed: datetime | None = None


class Deaths:
    """One leader's, on the connection that holds the lead."""

    def __init__(self, connection: AsyncConnection) -> None:
        """Nobody is known to be dead yet."""
        self._connection = connection
        self._machine = machine()
        self._silent: dict[int, float] = {}  # since when
        self._dead: dict[int, float] = {}
        self._unburied: list[int] = []
        self._looked = float("-inf")

    async def look(self) -> Dead:
        """Who is dead, as of LOOK seconds ago or less. Raises what the journal raises."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return Dead([prefix(number) for number in self._dead])
        self._looked = now
        rows = (await self._connection.execute(SILENT)).all()
        self._silent = {row.number: self._silent.get(row.number, now) for row in rows}
        self._dead = {number: since for number, since in self._dead.items() if now - since < REMEMBERED}
        gone = [row for row in rows if self._gone(row, now)]
        self._unburied = [row.number for row in gone if await self._take(row.number)]
        self._dead |= dict.fromkeys(self._unburied, now)
        if self._unburied:
            log.warning("processes died", extra={"processes": len(self._unburied)})
        return Dead([prefix(number) for number in self._dead], gone[0].now if self._unburied else None)

    async def bury(self) -> None:
        """What they held was taken back: from now on they cannot come back."""
        for number in self._unburied:
            await self._connection.execute(BURY, {"number": number})
            await self._connection.execute(LEAVE, {"number": number})
        self._unburied = []

    def _gone(self, row: Row[Any], now: float) -> bool:
        if row.machine == self._machine:
            return not runs(row.pid, row.born)
        return now - self._silent[row.number] > LOST

    async def _take(self, number: int) -> bool:
        return bool((await self._connection.execute(TAKE, {"number": number})).scalar_one())
