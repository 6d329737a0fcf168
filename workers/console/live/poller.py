"""The poller: the one task of a console process that looks how Relais stands, for all who have it open.

Every other second while somebody watches, every quarter of a minute otherwise; where looking takes long, in
between, so that it takes a tenth of the time. Each store is looked at beside the others, with a patience of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from config.addresses import intake_url
from config.settings import Settings
from orders.ending import ended
from orders.journal import connect
from workers.console.live.cached import LOOK_TIMEOUT, Watched
from workers.console.live.probes import PollerSnapshot, glance, intake, queue, survey

BEAT: Final = 2.0  # seconds between two looks while somebody watches
IDLE: Final = 15.0  # seconds, while nobody does
SURVEY: Final = 10.0  # seconds between two surveys at least
CHEAP: Final = 0.2  # seconds of a survey that may be taken at every beat
SHARE: Final = 10  # times what a look took pass until the next one
WAIT: Final = 1.0  # seconds that a page waits for a beat
SILENT: Final = 1.0  # seconds of a look without an answer after which no page waits for the journal
TOUCH: Final = 12.0  # seconds for which one request counts as somebody who watches
SURVEY_TIMEOUT: Final = 10.0  # seconds that a survey may take


class Poller:
    """Belongs to one event loop; `run` is its task."""

    def __init__(self, settings: Settings) -> None:
        """Nothing connects yet. Raises MissingSetting."""
        url = settings.need("database_url")
        self._engines: list[AsyncEngine] = [
            connect(url, pool=1, timeout=LOOK_TIMEOUT),
            connect(url, pool=1, timeout=SURVEY_TIMEOUT),
        ]
        brief, patient = self._engines
        place = intake_url(settings)
        self._journal = Watched("journal", lambda: glance(brief), LOOK_TIMEOUT)
        self._survey = Watched("survey", lambda: survey(patient, settings), SURVEY_TIMEOUT)
        self._queue = Watched("queue", lambda: queue(settings), LOOK_TIMEOUT)
        self._intake = Watched("intake", lambda: intake(place), LOOK_TIMEOUT)
        self._beaten = asyncio.Event()  # the next beat; another one each time
        self._called = asyncio.Event()  # somebody wants to know
        self._watching = 0
        self._touched = self._looked = self._surveyed = float("-inf")
        self._surveying: asyncio.Task[None] | None = None
        self.seen = self._see(0)

    async def run(self) -> None:
        """Beat until cancelled."""
        before = 0.0
        while True:
            await self._look()
            self._looked = time.monotonic()
            took = max(each.took for each in (self._journal, self._queue, self._intake))
            # One look that waited for a store to come back is no measure.
            await self._rest(min(SHARE * min(before, took), IDLE))
            before = took

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Beat while the block lasts, then let go of everything."""
        beating = asyncio.create_task(self.run())
        try:
            yield
        finally:
            await ended(beating, self._surveying)
            for watched in (self._journal, self._survey, self._queue, self._intake):
                await watched.aclose()
            for engine in self._engines:
                await engine.dispose()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Somebody watches while the block lasts."""
        self._watching += 1
        self._called.set()
        try:
            yield
        finally:
            self._watching -= 1

    async def fresh(self) -> PollerSnapshot:
        """What is known, not older than a beat where that can be had in time; never waits for a store that is out."""
        self.touch()
        deadline = time.monotonic() + WAIT
        while self._stale() and (left := deadline - time.monotonic()) > 0:
            await self.after(self.seen.beat, left)
        return self.seen

    async def after(self, beat: int, patience: float) -> bool:
        """Wait for a beat later than that one; False when none came within `patience` seconds."""
        beaten = self._beaten
        if self.seen.beat > beat:
            return True
        try:
            async with asyncio.timeout(patience):
                await beaten.wait()
        except TimeoutError:
            return False
        return True

    def silent(self) -> bool:
        """Whether the journal does not answer now; a look that has just begun is given the benefit of the doubt."""
        return self._journal.silent(SILENT)

    async def back(self, patience: float) -> bool:
        """Whether the journal turns out to answer again within so many seconds."""
        await self.after(self.seen.beat, patience)
        return self.seen.journal.out is None

    def touch(self) -> None:
        """Somebody looked at a page."""
        self._touched = time.monotonic()
        self._called.set()

    def _stale(self) -> bool:
        if self.seen.journal.out is not None:
            return False
        return self.seen.survey.at is None or time.monotonic() - self._looked > BEAT

    def _wanted(self) -> bool:
        return self._watching > 0 or time.monotonic() - self._touched < TOUCH

    async def _rest(self, least: float) -> None:
        """Until the next beat: at least so long, and longer while nobody watches."""
        began = time.monotonic()
        while (passed := time.monotonic() - began) < max(least, BEAT if self._wanted() else IDLE):
            self._called.clear()
            pause = max(least, BEAT if self._wanted() else IDLE) - passed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._called.wait()

    async def _look(self) -> None:
        looks = (self._journal.look(), self._queue.look(), self._intake.look())
        await asyncio.gather(*looks)
        if self._surveying is None or self._surveying.done():
            self._surveying = asyncio.create_task(self._look_closely())
        if self._survey.known.at is None or self._survey.took <= CHEAP:
            await asyncio.wait([self._surveying], timeout=LOOK_TIMEOUT)
        self._beat()

    async def _look_closely(self) -> None:
        if self._journal.known.out is not None:
            return
        if time.monotonic() < self._surveyed and not self._overtaken():
            return
        began = time.monotonic()
        await self._survey.look()
        ended = time.monotonic()
        self._surveyed = ended + max(SURVEY, 3 * SHARE * (ended - began))

    def _overtaken(self) -> bool:
        """Whether the last survey, one that cost little, counted what is no more so."""
        now, then = self._journal.known.value, self._survey.known.value
        if now is None or then is None or self._survey.took > CHEAP:
            return False
        return now.totals != then.totals

    def _beat(self) -> None:
        self.seen = self._see(self.seen.beat + 1)
        beaten, self._beaten = self._beaten, asyncio.Event()
        beaten.set()

    def _see(self, beat: int) -> PollerSnapshot:
        """What is known as of now; a survey that is newer than the glance brings its own."""
        journal, survey = self._journal.known, self._survey.known
        if journal.value and survey.value and survey.value.at > journal.value.at:
            journal = replace(journal, value=survey.value.glance)
        return PollerSnapshot(beat, datetime.now(UTC), journal, survey, self._queue.known, self._intake.known)
