"""What all rooms of one console process share: settings, the journal, pages, cursors. Belongs to one event loop.

What one room alone has for all its requests is that room's: `access.state`, `overview.state`, `acts.runner`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.journal import connect, unreachable
from workers.console.cursors import Cursors
from workers.console.rendering import Pages
from workers.console.within import promptly

POOL: Final = 8  # connections; a page takes one, briefly
PAGE_TIMEOUT: Final = 10.0  # seconds for one statement of a page
ACT_TIMEOUT: Final = 600.0  # seconds for one statement of an act, as of the command line's
KEY_TIMEOUT: Final = 1.0  # seconds for the key of cursors, which most pages do without


@dataclass(slots=True)
class ConsoleState:
    """Opened when the console starts to serve, closed when it stops."""

    settings: Settings
    engine: AsyncEngine
    pages: Pages
    cursors: Cursors
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # streams and acts end when it is set

    @classmethod
    def open(cls, settings: Settings) -> ConsoleState:
        """Nothing connects yet. Raises MissingSetting."""
        engine = connect(settings.need("database_url"), pool=POOL, timeout=PAGE_TIMEOUT)
        return cls(settings, engine, Pages(settings), Cursors(engine))

    @asynccontextmanager
    async def unhurried(self, pool: int) -> AsyncIterator[AsyncEngine]:
        """An engine whose statements may take minutes, and that no page waits behind."""
        engine = connect(self.settings.need("database_url"), pool=pool, timeout=ACT_TIMEOUT)
        try:
            yield engine
        finally:
            await engine.dispose()


async def _state(request: Request) -> ConsoleState:
    state: ConsoleState = request.app.state.console
    if state.cursors.key is None and request.app.state.overview.poller.seen.journal.out is None:
        try:
            await promptly(KEY_TIMEOUT, state.cursors.fetch_key())
        except Exception as error:
            if not unreachable(error):  # pages that live without the journal say so themselves
                raise
    return state


AppState = Annotated[ConsoleState, Depends(_state)]
