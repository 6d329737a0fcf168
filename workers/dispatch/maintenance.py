"""The leader's maintenance: what a round of the dispatcher does whatever the backend.

What was spilled is journalled, before anything is dispatched, for it came first, but for half a second of each round at
most; webhooks are told what is due; and the tallies are summed up, those of causes too, a sample is taken of how all
stands, and workers that have gone are taken off the list.
"""

from __future__ import annotations

import logging
import time
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from config.errors import first_line
from config.settings import Settings
from orders.intake.routing import Routing
from orders.intake.spill import SpillSigner
from orders.intake.store import SpillDown
from orders.journal import unreachable
from orders.queries.samples import CHEAP, RESET_LIMIT, SET_LIMIT, WHOLE, stands, thin
from orders.schema import cause_triggers
from orders.schema.tally_triggers import SUM_UP
from workers.dispatch.operator_log import OperatorLog
from workers.dispatch.publishing import Publishing
from workers.intake.spill_drain import look_aside, unspill
from workers.intake.spill_store import RedisSpill
from workers.queue import registry
from workers.webhooks import outbox

log = logging.getLogger("relais.dispatcher")

UNSPILL: Final = 0.5  # seconds for what was spilled in one round; orders that are journalled wait meanwhile
NOTICES_EVERY: Final = 0.25  # seconds at least between two looks for what webhooks are to be told
TALLIES_EVERY: Final = 10.0  # seconds; until then each batch that was settled adds some rows
SAMPLES_EVERY: Final = 10.0  # seconds; the finest step of the console's charts
LOOKS_EVERY: Final = 1.0  # seconds between two looks at the tallies, for the largest backlog between two samples
PURGE_EVERY: Final = 60.0  # seconds
ACTS_EVERY: Final = 1.0  # seconds at least between two looks for what operators did
COUNTING_SHARE: Final = 50  # times what counting took pass until it is counted again


class Maintenance:
    """One leader's, on the connection that holds the lead."""

    def __init__(
        self,
        connection: AsyncConnection,
        settings: Settings,
        publisher: Publishing,
        route: Routing,
        operator_log: OperatorLog,
    ) -> None:
        """Nothing is done yet; `route` says where the orders of the spill go."""
        self._connection = connection
        self._settings = settings
        self._publisher = publisher
        self._spill = RedisSpill(settings.need("redis_url"))
        self._seal = SpillSigner.of(settings.queue.spill_key) if settings.queue.spill_key else None
        self._route = route
        self._done: dict[str, float] = {}  # when each was done last
        self._operator_log = operator_log
        operator_log.begin_lead()
        self._queue_lost = False
        self._passed: int | None = 0  # of the records that stayed in Redis, until this leader has looked at all
        self._sampler = Sampler()

    async def unspill(self) -> bool:
        """Journal what waits in the spill, as far as Redis can be asked; whether some was left for the next round."""
        self._queue_lost = self._publisher.depth() is None
        if self._queue_lost:
            return False
        if self._seal is None:
            if self._publisher.spilled():
                log.error("orders wait in the spill, and RELAIS_SPILL_KEY is not set")
            return False
        spill = (self._connection, self._spill, self._seal, self._route)
        try:
            if self._passed is not None:  # this worker may have another key than the one that left them there
                self._passed = await look_aside(*spill, self._passed)
            if self._publisher.spilled():
                gone = await unspill(*spill, UNSPILL)
                return gone > 0 and self._publisher.spilled()
        except SpillDown as error:
            log.warning("the spill is out of reach", extra={"why": error})
        except DBAPIError as error:
            if unreachable(error):
                raise
            log.warning("the journal does not take what waits in the spill", extra={"why": first_line(error)})
        return False

    async def tell(self) -> None:
        """Publish what webhooks are to be told."""
        if not self._queue_lost and self._due("notices", NOTICES_EVERY):
            await outbox.dispatch(self._connection, self._settings, self._publisher.untold, self._publisher.tell)

    async def keep_house(self) -> None:
        """Take gone workers off the list, make few rows of many tallies, take a sample, log what operators did."""
        if self._due("workers", PURGE_EVERY):
            await registry.purge(self._connection)
        if self._due("tallies", TALLIES_EVERY):
            await self._connection.execute(SUM_UP)
            await self._connection.execute(cause_triggers.SUM_UP)
        if self._due("looks", LOOKS_EVERY):
            await self._sampler.look(self._connection)
        if self._due("samples", SAMPLES_EVERY):
            await self._sampler.take(self._connection)
        if self._due("acts", ACTS_EVERY):
            await self._operator_log.tell(self._connection)

    async def aclose(self) -> None:
        """Let go of the spill."""
        await self._spill.close()

    def _due(self, job: str, every: float) -> bool:
        """Whether it is this long since the job was due last; it is done now."""
        now = time.monotonic()
        if now - self._done.get(job, float("-inf")) < every:
            return False
        self._done[job] = now
        return True


class Sampler:
    """One leader's."""

    def __init__(self) -> None:
        """Nothing was taken yet."""
        self._count_at = float("-inf")
        self._peak = 0  # orders; the largest backlog since the last sample

    async def look(self, connection: AsyncConnection) -> None:
        """See how large the backlog is, by the tallies alone. Raises what the journal raises."""
        self._peak = max(self._peak, (await stands(connection))["backlog"])

    async def take(self, connection: AsyncConnection) -> None:
        """Write a sample, and delete what older ones need not be kept. Raises what the journal raises."""
        began = time.monotonic()
        if began < self._count_at or not await self._count(connection):
            await connection.execute(CHEAP, {"peak": self._peak})
        self._peak = 0
        await thin(connection)

    async def _count(self, connection: AsyncConnection) -> bool:
        """Whether a sample could be written with the backlog counted."""
        began = time.monotonic()
        await connection.execute(SET_LIMIT)
        try:
            await connection.execute(WHOLE, {"peak": self._peak})
        except DBAPIError as error:
            if error.orig is None or not isinstance(error.orig.__cause__, asyncpg.QueryCanceledError):
                raise
            return False
        finally:
            await connection.execute(RESET_LIMIT)
            ended = time.monotonic()
            self._count_at = ended + COUNTING_SHARE * (ended - began)
        return True
