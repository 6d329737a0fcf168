"""Whether a worker works, rather than only runs: canaries through Redis to its pool, and what their silence means.

A worker can be connected, answer `ping` and consume nothing. Each sends itself a canary every `canary_every` seconds;
who supervises one sends its own. It can answer them and take no orders: so each also looks whether orders wait in the
queues while its pool has none in hand, says so in the journal, and whoever supervises it reads it there. Silence counts
only while journal and Redis could both be written without a break: an outage of theirs is no worker's fault.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from config.settings.routes_file import load_backends
from orders.journal import connect
from workers.background import Background
from workers.liveness.systemd import WATCHDOG, tell_systemd
from workers.queue import registry
from workers.queue.publisher import Publisher

log = logging.getLogger("relais.canary")

START: Final = 60.0  # seconds that a worker may need to begin
NOTED: Final = 4.0  # seconds after which a process of a pool surely has noted that it works

Look = Callable[[AsyncConnection, int], Awaitable[Row[Any] | None]]


class Hearing:
    """How long a worker has been silent although it could have answered, by the clock of who listens: to canaries, or,
    where it is about orders that wait, to whether it has any in hand.
    """

    def __init__(
        self, patience: float, every: float, begin: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Silence of more than `patience` seconds is too much; it is asked every `every` seconds or so.

        Before its first answer it has `begin` seconds more.
        """
        self._patience, self._clock = patience, clock
        self._gap = max(patience / 2, 3 * every)
        self._asked = clock()
        self._since = self._asked + begin
        self._heard: datetime | None = None

    def asked(self, heard: datetime | None) -> None:
        """A canary was sent; `heard` is the youngest that was answered. Who last asked long ago was away itself."""
        now = self._clock()
        if heard != self._heard:
            self._since = now
        elif now - self._asked > self._gap:
            self._since = max(self._since, now)
        self._heard, self._asked = heard, now

    def unasked(self) -> None:
        """It could not be asked."""
        self._asked = self._clock()
        self._since = max(self._since, self._asked)

    @property
    def silence(self) -> float:
        """Seconds for which it has been silent by now."""
        return self._asked - self._since

    @property
    def hung(self) -> bool:
        """True when it has been silent for too long."""
        return self.silence > self._patience


class WorkerWatch:
    """One listener to one worker of this host. Its methods raise nothing."""

    def __init__(self, settings: Settings, pid: int, publisher: Publisher, look: Look, begin: float = 0.0) -> None:
        """Nothing connects yet; `look` asks the journal about the worker, and writes."""
        self.engine: AsyncEngine = connect(settings.need("database_url"), pool=1)
        self._pid, self._publisher, self._look = pid, publisher, look
        self.asked = self._deaf = False  # whether it could be asked when that was tried last, and what it then said
        self._patience = registry.patience(settings)
        self._hearing = Hearing(self._patience, settings.worker.canary_every, begin)

    async def hung(self) -> bool:
        """Ask once, and judge."""
        self.asked = await self._ask()
        return self.asked and (self._hearing.hung or self._deaf)

    async def _ask(self) -> bool:
        try:
            async with self.engine.connect() as connection:
                row = await self._look(connection, self._pid)
            sent = row.asked_at if row is not None else datetime.now().astimezone()
            send = partial(self._publisher.canary, registry.node(self._pid), sent, self._patience)
            if await asyncio.to_thread(send):
                self._hearing.asked(row.heard_at if row is not None else None)
                self._deaf = row is not None and row.deaf
                return True
        except Exception as error:
            log.info("no canary", extra={"error": type(error).__name__})
        self._hearing.unasked()
        return False


class Canary(Background):
    """A worker's own: enters it in the journal, sends it canaries, and feeds systemd's watchdog while it answers."""

    def __init__(self, settings: Settings, publisher: Callable[[], Publisher]) -> None:
        """`publisher` is called in the thread."""
        super().__init__("canary")
        self._settings, self._publisher = settings, publisher
        self._pid = os.getpid()
        self._registered = self._silent = self._deaf = False
        self._backends = list(load_backends(settings))
        every = settings.worker.canary_every
        self._orders = Hearing(2 * every + NOTED, every)

    async def _run(self) -> None:
        watch = WorkerWatch(self._settings, self._pid, self._publisher(), self._look)
        while not self._stopping.is_set():
            self._say(await watch.hung())
            if not watch.asked:
                self._orders.unasked()
            await self._pause(self._settings.worker.canary_every)
        await self._leave(watch.engine)

    async def _look(self, connection: AsyncConnection, pid: int) -> Row[Any]:
        if not self._registered:
            await registry.register(connection, pid)
            self._registered = True
        row = await registry.keep(connection, pid, self._backends)
        if row.waiting:
            self._orders.asked(row.worked_at)
        else:
            self._orders.unasked()
        await self._tell_deaf(connection)
        return row

    async def _tell_deaf(self, connection: AsyncConnection) -> None:
        """Whoever supervises it reads it in the journal."""
        deaf = self._orders.hung
        if deaf and not self._deaf:
            log.error("this worker takes no orders: some wait in the queues, and no process of its pool has any")
        if deaf or self._deaf:
            await registry.tell_deaf(connection, self._pid, self._orders.silence if deaf else None)
        self._deaf = deaf

    def _say(self, hung: bool) -> None:
        if not hung:
            tell_systemd(WATCHDOG)
        elif not (self._silent or self._deaf):
            log.error("this worker consumes nothing: no process of its pool answers")
        self._silent = hung

    async def _leave(self, engine: AsyncEngine) -> None:
        try:
            async with asyncio.timeout(3), engine.connect() as connection:
                await registry.forget(connection, registry.node(self._pid))
        except Exception as error:
            log.info("left on the list", extra={"error": type(error).__name__})
        await engine.dispose()


async def hangs(settings: Settings, pid: int) -> None:
    """Return once the worker with this pid, on this host, hangs."""
    from workers.queue.app import create_app  # which is no business of a worker that only listens to itself

    publisher = Publisher(await asyncio.to_thread(create_app, settings), settings)
    watch = WorkerWatch(settings, pid, publisher, registry.ask, START)
    try:
        while True:
            if await watch.hung():
                return
            await asyncio.sleep(settings.worker.canary_every)
    finally:
        await watch.engine.dispose()
