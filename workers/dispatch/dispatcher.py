"""The dispatcher: the one mechanism that turns due deliveries into dispatches, within the window.

It runs as a thread in every worker's main process; whoever holds the advisory lock leads, on the same connection
that does the work (`workers.dispatch.scheduler`, one for each backend), so a leader that loses the journal has lost the
lead. Woken by NOTIFY, it ticks at most a second apart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.settings import Settings
from config.settings.routes_file import load_backends
from orders.intake.routing import open_routing
from orders.journal import connect, unreachable
from orders.journal.connection import DUE_CHANNEL
from orders.journal.durability import weaknesses
from orders.schema.triggers import NOTICE_CHANNEL
from workers.backend_transitions import describe, register
from workers.background import Background
from workers.dispatch.deaths import Deaths
from workers.dispatch.journal_clock import JournalClock
from workers.dispatch.leadership import LEADER_LOCK
from workers.dispatch.maintenance import Maintenance
from workers.dispatch.operator_log import OperatorLog
from workers.dispatch.publishing import Publishing
from workers.dispatch.scheduler import PLANNER, TICK, Scheduler
from workers.erp.port import Capabilities
from workers.trust.life import ProcessLife

log = logging.getLogger("relais.dispatcher")

COALESCE: Final = 0.01  # seconds in which further wake-ups join the same tick
FROZEN: Final = "10s"  # of silence, after which PostgreSQL ends a leader's session and frees the lead


class Dispatcher(Background):
    """One candidate for the lead; `stop` gives it up, once a tick has ended."""

    def __init__(
        self,
        settings: Settings,
        publisher: Callable[[Settings], Publishing],
        promised: Mapping[str, Capabilities] = MappingProxyType({}),
    ) -> None:
        """`publisher` is called in the dispatcher's own thread, with the settings of each backend; what its connector
        has `promised` is kept for those who have none.

        Raises what the backends, their routes and the lists that those ask for have to say: now, not at each lead.
        """
        super().__init__("dispatcher")
        self._settings = settings
        self._backends = load_backends(settings)
        self._route = open_routing(settings)
        self._publisher = publisher
        self._promised = promised
        self._operator_log = OperatorLog()
        self._clock = JournalClock()

    async def _run(self) -> None:
        """Stand for the lead until stopped, whatever happens to the journal."""
        url = self._settings.need("database_url")
        engine, life = connect(url, pool=1), ProcessLife(url)
        life.begin()
        while not self._stopping.is_set():
            try:
                async with engine.connect() as connection:
                    await self._candidate(connection)
            except Exception as error:
                if unreachable(error):
                    extra = {"error": type(error).__name__}
                    log.warning("the journal is out of reach, standing again", extra=extra)
                else:
                    log.exception("tick failed")
            self._wake.clear()  # whoever woke it meanwhile is served by the next try, which is not to come sooner
            await self._pause(TICK)
        await life.end()
        await engine.dispose()

    async def _candidate(self, connection: AsyncConnection) -> None:
        while not self._stopping.is_set():
            query = text("SELECT pg_try_advisory_lock(:key)")
            if (await connection.execute(query, {"key": LEADER_LOCK})).scalar_one():
                await self._lead(connection)
            await self._clock.look(connection)
            await self._pause(TICK)

    async def _lead(self, connection: AsyncConnection) -> None:
        log.info("leading", extra={"backends": ",".join(self._backends)})
        for each in await weaknesses(connection):
            log.warning("the journal is weaker than a receipt says", extra={"why": each})
        await self._listen(connection)
        publishers = {name: self._publisher(settings) for name, settings in self._backends.items()}
        schedulers = [
            Scheduler(connection, settings, publishers[name], self._clock) for name, settings in self._backends.items()
        ]
        for name in self._backends:
            await register(connection, name)
            if (can := self._promised.get(name)) is not None:
                await describe(connection, name, can.unique_reference, can.absent_after, can.ack_within)
        shared = next(iter(publishers.values()))
        maintenance = Maintenance(connection, self._settings, shared, self._route, self._operator_log)
        deaths = Deaths(connection)
        async with aclosing(maintenance):
            while not self._stopping.is_set():
                self._wake.clear()
                if await maintenance.unspill():
                    self._wake.set()
                dead = await deaths.look()
                for scheduler in schedulers:
                    await scheduler.tick(dead)
                await deaths.bury()
                await maintenance.tell()
                await maintenance.keep_house()
                await self._pause(TICK)
                await asyncio.sleep(COALESCE)
        await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LEADER_LOCK})

    async def _listen(self, connection: AsyncConnection) -> None:
        await connection.execute(text(f"SET idle_session_timeout = '{FROZEN}'"))
        for setting in PLANNER:
            await connection.execute(text(f"SET enable_{setting} = off"))
        await connection.execute(text("SET plan_cache_mode = force_generic_plan"))
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        for channel in (DUE_CHANNEL, NOTICE_CHANNEL):
            await driver.add_listener(channel, lambda *_: self._wake.set())
