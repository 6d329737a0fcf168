"""How many answers each ERP's connector has set aside: a thread in every worker's main process looks, and tells the
journal, where figures, status and console read it.

What cannot be read waits for a person whether or not orders go on, so it is counted whether or not any is polled. One
looks at a time, and what it saw is kept with the moment. Who cannot look says nothing: what was seen last stays.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final, Protocol, runtime_checkable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.settings import Settings
from orders.journal import connect, unreachable
from workers.backend_transitions import forget_set_aside, saw_set_aside
from workers.background import Background
from workers.erp.port import Erp

log = logging.getLogger("relais.dispatcher")

LOOK_EVERY: Final = 15.0  # seconds between two looks at a backend, whoever takes them
MOST_SECONDS: Final = 10.0  # that one may take
WATCH_LOCK: Final = 0x52454C57

# A backend in quarantine is asked nothing.
DUE: Final = text("""
SELECT name FROM backends WHERE name = ANY(:names) AND NOT quarantined
  AND (set_aside_at IS NULL OR set_aside_at < clock_timestamp() - make_interval(secs => :every))
""")


@runtime_checkable
class SetsAside(Protocol):
    """A connector that sets aside what it cannot read, until a person has seen to it."""

    async def set_aside(self, *, budget: float) -> int | None:
        """How many answers it has set aside, None where that cannot be told within `budget` seconds. Never raises."""

    async def close(self) -> None:
        """Let go of connections; a later call opens new ones."""


class AsideWatch(Background):
    """One candidate; it soon ends where no connector sets anything aside."""

    def __init__(self, settings: Settings, connectors: Mapping[str, Erp]) -> None:
        """Of the backends whose connectors these are, which nobody else uses. Nothing connects yet."""
        super().__init__("aside")
        self._url = settings.need("database_url")
        self._watched = {name: erp for name, erp in connectors.items() if isinstance(erp, SetsAside)}
        self._others = connectors.keys() - self._watched.keys()

    async def _run(self) -> None:
        engine = connect(self._url, pool=1)
        while not self._stopping.is_set():
            try:
                async with engine.connect() as connection:
                    await forget_set_aside(connection, self._others)
                    if not self._watched:
                        break
                    await self._look(connection)
            except Exception as error:
                if unreachable(error):
                    log.debug("the journal is out of reach, looking later", extra={"error": type(error).__name__})
                else:
                    log.exception("looking at what is set aside failed")
            await self._pause(LOOK_EVERY)
        await engine.dispose()

    async def _look(self, connection: AsyncConnection) -> None:
        """Count where nobody has done so lately, and nobody is at it."""
        lock = {"key": WATCH_LOCK}
        if not (await connection.execute(text("SELECT pg_try_advisory_lock(:key)"), lock)).scalar_one():
            return
        try:
            due = {"names": [*self._watched], "every": LOOK_EVERY * 0.9}
            for name in (await connection.execute(DUE, due)).scalars().all():
                await self._count(connection, name)
        finally:
            await connection.execute(text("SELECT pg_advisory_unlock(:key)"), lock)

    async def _count(self, connection: AsyncConnection, name: str) -> None:
        watched = self._watched[name]
        counted = await watched.set_aside(budget=MOST_SECONDS)
        await watched.close()
        if counted is not None:
            await saw_set_aside(connection, name, counted)
