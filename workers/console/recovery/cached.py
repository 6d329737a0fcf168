"""How recoveries stand, read once for all who look: a second old at most, or four times as long as reading takes.

A hundred open pages cost the journal what one costs. While it is out of reach, what was known last is told, with
when that was.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.journal import snapshot, unreachable
from orders.queries import backends as backend_rows
from orders.queries import replays as replay_queries
from workers.console.recovery import queries as kept
from workers.console.within import promptly
from workers.dispatch.leadership import leader
from workers.reconcile import runs
from workers.reconcile.runs import Reconciliation

FRESH: Final = 1.0  # seconds
READ_TIMEOUT: Final = 2.0  # seconds for all of it
SHARE: Final = 4  # times as long as reading took, for which it is good
BLIND_FOR: Final = 2.0  # seconds without another try while the journal is away
NEWEST_RUNS: Final = 5  # replays and reconciliations

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """One reading: backends, replays that are the newest of theirs, the backlog by backend, what was before."""

    at: datetime
    backends: list[Row]
    replays: list[Row]
    backlog: dict[str, int]
    leading: bool
    past: list[Row]
    runs: list[Reconciliation]


@dataclass(slots=True)
class Lately:
    """Belongs to one event loop."""

    engine: AsyncEngine
    _known: Look | None = None
    _until: float = float("-inf")
    _out: bool = False
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> tuple[Look, bool]:
        """What is known, and whether the journal is out of reach; raises what it raises when nothing was known."""
        async with self._reading:
            if time.monotonic() >= self._until:
                await self._look_again()
        if self._known is None:
            raise ConnectionError("the journal did not answer just now")
        return self._known, self._out

    async def _look_again(self) -> None:
        began = time.monotonic()
        try:
            self._known = await promptly(READ_TIMEOUT, self._read())
        except Exception as error:
            if not unreachable(error):
                raise
            self._out, self._until = True, time.monotonic() + BLIND_FOR
            return
        now = time.monotonic()
        self._out, self._until = False, now + max(FRESH, SHARE * (now - began))

    async def _read(self) -> Look:
        async with snapshot(self.engine) as connection:
            return await self._read_from(connection)

    async def _read_from(self, connection: AsyncConnection) -> Look:
        at: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
        return Look(
            at,
            await backend_rows.standing(connection),
            await replay_queries.standing(connection),
            await kept.backlog(connection),
            await leader(connection),
            await kept.past(connection, None, NEWEST_RUNS),
            await runs.newest(connection, limit=NEWEST_RUNS),
        )
