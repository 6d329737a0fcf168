"""The barrier before a backend: why nothing is sent to it any more from the moment at which a quarantine is committed.

Every worker process holds a shared advisory lock while it may send, on a connection that also listens. Who puts a
backend on hold notifies all, which shut theirs and let go, and commits once it has the lock to itself. A barrier is
opened again, by the next batch, only where the journal says that the backend is not in quarantine. A process that is
frozen is waited for LONGEST_WAIT seconds; when it wakes, its own clock tells it to ask before it sends. It is
shut, too, while the process cannot show that it lives (`workers.trust.life`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.journal import transactional
from orders.journal.hosts import reach
from workers.trust.life import ProcessLife

log = logging.getLogger("relais.barrier")

HOLD_CHANNEL: Final = "relais_hold"
HOLD_LOCK: Final = 0x52454C48  # with the backend's hash beside it
LONGEST_WAIT: Final = 3.0  # seconds
FROZEN: Final = 2.0  # seconds without a beat, after which a process does not know how things stand
BEAT: Final = 0.5
PAUSE: Final = 0.02  # seconds between two looks whether every process has let go

SHARE: Final = (
    f"SELECT pg_try_advisory_lock_shared({HOLD_LOCK}, hashtext($1)) "
    "AND NOT EXISTS (SELECT FROM backends WHERE name = $1 AND quarantined)"
)
ALONE = text(f"SELECT pg_try_advisory_xact_lock({HOLD_LOCK}, hashtext(:backend))")
HOLD = text(f"SELECT pg_notify('{HOLD_CHANNEL}', :backend)")


class ProcessBarrier:
    """The barrier of one worker process before one backend. Belongs to the event loop on which it is first opened."""

    def __init__(self, url: str, backend: str, life: ProcessLife | None = None) -> None:
        """Shut; nothing connects yet. `life` is that of the process, where its claims bear its number."""
        self._url, self._backend, self._life = url, backend, life
        self._opening = asyncio.Lock()
        self._held: asyncpg.Connection | None = None
        self._beaten = 0.0
        self._next: asyncio.TimerHandle | None = None

    def is_open(self) -> bool:
        """Whether anything may be sent now."""
        if self._held is not None and time.monotonic() - self._beaten > FROZEN:
            self.shut()
        return self._held is not None and (self._life is None or self._life.holds())

    async def open(self) -> bool:
        """Open it, unless the backend is held or the journal cannot be asked; whether it is open. Never raises."""
        async with self._opening:
            if self._held is None:
                try:
                    await self._open()
                except Exception as error:  # asyncpg has many for a lost session
                    extra = {"backend": self._backend, "error": type(error).__name__}
                    log.warning("the barrier stays shut", extra=extra)
        return self.is_open()

    def shut(self) -> None:
        """Nothing further is sent. Its connection ends, and the lock with it."""
        if self._next is not None:
            self._next.cancel()
        held, self._held = self._held, None
        if held is not None:
            held.terminate()

    async def _open(self) -> None:
        settings = {"application_name": "relais barrier"}
        connection = await reach(self._url, timeout=5, command_timeout=5, server_settings=settings)
        lost: list[bool] = []

        def let_go(*_: Any) -> None:
            lost.append(True)
            if self._held is connection:
                self._held = None
            connection.terminate()

        def told(_: Any, pid: int, channel: str, backend: object) -> None:
            if backend == self._backend:
                let_go()

        connection.add_termination_listener(let_go)
        try:
            await connection.add_listener(HOLD_CHANNEL, told)
            may = await connection.fetchval(SHARE, self._backend)
        except BaseException:
            connection.terminate()
            raise
        if may and not lost:
            self._held, self._beaten = connection, time.monotonic()
            self._beat()
        else:
            connection.terminate()

    def _beat(self) -> None:
        """As long as the loop turns."""
        self.is_open()
        if self._held is not None:
            self._beaten = time.monotonic()
            self._next = asyncio.get_running_loop().call_later(BEAT, self._beat)


@asynccontextmanager
async def halted(engine: AsyncEngine, backend: str) -> AsyncIterator[AsyncConnection]:
    """A transaction during which no worker process sends to the backend: what it commits, nothing is sent after.

    It begins when all have let go, or after LONGEST_WAIT seconds.
    """
    until = time.monotonic() + LONGEST_WAIT
    while True:
        async with engine.connect() as other:
            await other.execute(HOLD, {"backend": backend})
        async with transactional(engine).begin() as connection:
            alone = (await connection.execute(ALONE, {"backend": backend})).scalar_one()
            if not alone and time.monotonic() > until:
                log.error("a worker process does not answer, and is not waited for", extra={"backend": backend})
                alone = True
            if alone:
                yield connection
                return
        await asyncio.sleep(PAUSE)
