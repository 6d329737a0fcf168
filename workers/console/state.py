"""What all requests of one console process share: settings, the journal, languages. Belongs to one event loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.journal import connect, unreachable
from workers.console.access.login_throttle import Logins
from workers.console.access.oidc import Provider
from workers.console.access.sessions import Sessions
from workers.console.cursors import secret_of
from workers.console.live.poller import Poller
from workers.console.live.series import Series
from workers.console.live.stream import Streams
from workers.console.overview.fragments import Board
from workers.console.rendering import Pages
from workers.console.within import promptly

POOL: Final = 8  # connections; a page takes one, briefly
STATEMENT: Final = 10.0  # seconds for one statement of a page
PATIENCE: Final = 1.0  # seconds for the key of cursors, which most pages do without


@dataclass(slots=True)
class ConsoleState:
    """Opened when the console starts to serve, closed when it stops."""

    settings: Settings
    engine: AsyncEngine
    pages: Pages
    sessions: Sessions
    logins: Logins
    provider: Provider | None  # who else vouches for people
    pulse: Poller  # looks only while it is let run
    board: Board
    series: Series
    streams: Streams = field(default_factory=Streams)
    secret: bytes | None = None  # that cursors are sealed with; read when the journal first answers a page
    stopping: asyncio.Event = field(default_factory=asyncio.Event)  # streams end when it is set

    @classmethod
    def open(cls, settings: Settings) -> ConsoleState:
        """Nothing connects yet. Raises MissingSetting."""
        engine, pages = connect(settings.need("database_url"), pool=POOL, timeout=STATEMENT), Pages(settings)
        sessions, logins, pulse = Sessions(engine, settings), Logins(engine, settings), Poller(settings)
        return cls(
            settings,
            engine,
            pages,
            sessions,
            logins,
            Provider.of(settings),
            pulse,
            Board(pulse, pages),
            Series(engine),
        )

    async def close(self) -> None:
        """Let go of connections and threads."""
        self.logins.passwords.close()
        await self.engine.dispose()


async def _desk(request: Request) -> ConsoleState:
    desk: ConsoleState = request.app.state.desk
    if desk.secret is None and desk.pulse.seen.journal.out is None:
        try:
            desk.secret = await promptly(PATIENCE, secret_of(desk.engine))
        except Exception as error:
            if not unreachable(error):  # pages that live without the journal say so themselves
                raise
    return desk


AtDesk = Annotated[ConsoleState, Depends(_desk)]
