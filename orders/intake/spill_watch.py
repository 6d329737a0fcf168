"""What an intake knows of the spill while it writes to the journal: an earlier order may wait there, taken by itself or
by another intake, and the first receipt wins.

The spill is looked at in the background, and a group is asked for only while it may hold orders: in ordinary times a
look that found it empty is trusted for TRUST, and nobody waits. An intake that spills answers its first orders only
once every such trust has run out. Where the spill cannot be asked, orders go to the journal: what loses its place by
that is a dead letter that names its rival.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from typing import Final
from uuid import UUID

from orders.ending import ended
from orders.errors import RelaisError
from orders.intake.entries import Accepted, Entry
from orders.intake.spill import SpillSigner, names, verdict
from orders.intake.store import SpillDown, Store

log = logging.getLogger("relais.intake")

LOOK: Final = 0.1  # seconds between two looks
TRUST: Final = 0.3  # seconds from when a look was sent in which an empty spill is taken for empty
ASK_TIMEOUT: Final = 1.0  # seconds for an answer; a group is waiting


class SpillWatch:
    """One intake's. Belongs to the event loop on which it is first asked."""

    def __init__(self, store: Store, key: SpillSigner) -> None:
        """Nothing is asked yet."""
        self._store, self._key = store, key
        self._empty_until = float("-inf")
        self._silent = False
        self._era, self._began = b"", 0.0
        self._looking: asyncio.Task[None] | None = None

    async def firsts(self, entries: Sequence[Entry]) -> dict[UUID, Accepted | RelaisError]:
        """What the spill says of the entries that it knows, by their ids."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._watch(), context=Context())
        if self._silent or time.monotonic() < self._empty_until:
            return {}
        named = [names(each) for each in entries]
        try:
            found = iter(await self._ask([name for each in named for name in each]))
        except SpillDown:
            return {}
        said = {
            each.id: verdict(each, [next(found) for _ in of_it], self._key)
            for each, of_it in zip(entries, named, strict=True)
        }
        return {order_id: answer for order_id, answer in said.items() if answer is not None}

    async def announced(self, era: bytes) -> None:
        """Returns once no intake trusts any more that the spill is empty, since it was put to in this era."""
        if era != self._era:
            self._era, self._began = era, time.monotonic()
        await asyncio.sleep(self._began + TRUST - time.monotonic())

    async def close(self) -> None:
        """Stop looking."""
        await ended(self._looking)

    async def _watch(self) -> None:
        while True:
            with suppress(SpillDown):
                await self._ask(())
            await asyncio.sleep(LOOK)

    async def _ask(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        sent = time.monotonic()
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                holds, found = await self._store.known(wanted)
        except Exception as error:  # whatever it was, it must keep no order out
            if not self._silent:
                log.warning("the spill cannot be asked", extra={"error": type(error).__name__})
            self._silent = True
            raise SpillDown("it cannot be asked") from None
        if self._silent:
            log.warning("the spill can be asked again")
        self._silent = False
        self._empty_until = float("-inf") if holds else sent + TRUST
        return found
