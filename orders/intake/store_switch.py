"""Which store takes orders now: the journal, else the spill, else neither.

One look at the journal that failed sends every order past it, at once, until another finds it back: nobody waits for
a timeout that somebody else has waited for. A spill that failed is left alone for a moment for the same reason. Who
asks how the stores stand is told what the last looks found, and waits for none. A journal that looks well and then
takes no order is believed later each time (`orders.intake.doubt`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from contextvars import Context
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.errors import first_line
from orders.ending import ended
from orders.errors import JournalDown
from orders.intake.doubt import Doubt
from orders.intake.entries import COLUMNS, NO_ORDERS, inserting
from orders.intake.spill import SpillSigner
from orders.intake.store import SpillDown, Store
from orders.journal import unreachable
from orders.journal.connection import REPLICATED
from orders.journal.durability import weaknesses
from orders.sentences import Sentence
from orders.states import State

log = logging.getLogger("relais.intake")

LOOK: Final = 1.0  # seconds between two looks at a journal that is there
PROBE: Final = 0.5  # seconds between two looks at one that is away
LOOK_TIMEOUT: Final = 2.0  # seconds that one look may take
BREATH: Final = 1.0  # seconds that a spill that failed is left alone

# A group of no orders: it needs the tables, columns and rights that an order needs, makes no commit on a standby, and
# waits for the standbys that an order would wait for.
TAKES: Final = text(inserting(COLUMNS, f"'{State.ACCEPTED}'", answer=f"SELECT {REPLICATED}"))


class Mode(StrEnum):
    """Where an order that comes now is kept."""

    JOURNAL = "journal"
    SPILL = "spill"
    REFUSING = "refusing"


class Standing(NamedTuple):
    """Where an order that comes now is kept, since when, and when a look last found that the journal takes orders."""

    mode: Mode
    since: datetime
    journal_answered_at: datetime | None


class StoreSwitch:
    """How the two stores stand, as one process knows it. Belongs to one event loop."""

    def __init__(self, engine: AsyncEngine, spill: tuple[Store, SpillSigner] | None) -> None:
        """Without a spill, an intake whose journal is away refuses."""
        self.journal_up = True
        self.standing: Standing | None = None  # None before the first look has ended
        self._engine = engine
        self._spill = spill
        self._spill_up = spill is not None
        self._spill_down_until = float("-inf")
        self._always = False  # look on while the journal is there, too
        self._looked = asyncio.Event()  # a look has ended
        self._looking: asyncio.Task[None] | None = None
        self._answered_at: datetime | None = None
        self._why: Exception | None = None  # the last look failed
        self._doubt = Doubt()
        self._weak: list[Sentence] = []

    @property
    def mode(self) -> Mode:
        """As far as is known without asking."""
        if self.journal_up:
            return Mode.JOURNAL
        return Mode.SPILL if self._spill_up else Mode.REFUSING

    async def watch(self, patience: float) -> None:
        """Look again and again from now on; returns when the first look has ended, or `patience` seconds are over."""
        self._always = True
        self._look_on()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._looked.wait()

    async def look(self) -> Mode:
        """Ask the stores; a journal that is back is used from then on, unless it is in doubt."""
        if await self._journal_answers():
            self._answered_at = datetime.now(UTC)
            self._find_journal()
        else:
            self.lose_journal(self._why)
        if not self.journal_up:
            await self._look_at_spill()
        self._stand()
        self._looked.set()
        return self.mode

    def lose_journal(self, why: Exception | None = None) -> None:
        """The journal takes no orders: go past it until a look finds that it does."""
        if self.journal_up:
            self._doubt.lost(why)
            foreseen = why is None or unreachable(why)
            extra = {} if why is None else {"why": first_line(why)}
            log.warning(
                "the journal takes no orders, they go to the spill", extra=extra, exc_info=None if foreseen else why
            )
        self.journal_up = False
        self._stand()
        self._look_on()

    def spill(self) -> tuple[Store, SpillSigner]:
        """The spill and the key to it. Raises JournalDown where there is none, or it failed a moment ago."""
        if self._spill is None:
            raise JournalDown("the journal is out of reach, and there is no spill: RELAIS_SPILL_KEY is not set")
        if time.monotonic() < self._spill_down_until:
            raise JournalDown("the journal and the spill are out of reach")
        return self._spill

    def lose_spill(self, error: SpillDown) -> None:
        """The spill cannot be trusted to keep an order: leave it alone for a moment."""
        log.warning("the spill cannot take orders", extra={"why": error})
        self._spill_up, self._spill_down_until = False, time.monotonic() + BREATH
        self._stand()

    async def close(self) -> None:
        """Stop looking, and let go of the spill."""
        await ended(self._looking)
        if self._spill is not None:
            await self._spill[0].close()

    def _find_journal(self) -> None:
        if not self.journal_up and self._doubt.over:
            self.journal_up = True
            self._doubt.found()
            log.warning("the journal is back")

    def _look_on(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._keep_looking(), context=Context())

    async def _keep_looking(self) -> None:
        while self._always or not self.journal_up:
            if self.standing is not None:
                await asyncio.sleep((LOOK if self.journal_up else PROBE) * random.uniform(0.7, 1.3))
            await self.look()

    async def _look_at_spill(self) -> None:
        if self._spill is None or time.monotonic() < self._spill_down_until:
            return
        try:
            await self._spill[0].check()
            self._spill_up = True
        except SpillDown as error:
            self.lose_spill(error)

    def _stand(self) -> None:
        before, mode = self.standing, self.mode
        since = before.since if before is not None and before.mode is mode else datetime.now(UTC)
        self.standing = Standing(mode, since, self._answered_at)

    def _tell_weak(self, found: list[Sentence]) -> None:
        for each in found:
            if each not in self._weak:
                log.warning("the journal is weaker than a receipt says", extra={"why": each})
        self._weak = found

    async def _journal_answers(self) -> bool:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT), self._engine.connect() as connection:
                await connection.execute(TAKES, NO_ORDERS)
                self._tell_weak(await weaknesses(connection))
            return True
        except Exception as error:  # whatever it is, orders are kept elsewhere meanwhile
            self._why = error
            return False
