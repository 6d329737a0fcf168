"""A bulkhead: what one worker process has in hand of one backend, so that a slow ERP holds up nobody but itself.

A task waits for its batch, which is what makes orders gather in Redis for a larger one; where there are other
backends it waits for a moment only. A batch that takes longer goes on by itself, bounded by its budget and its lease,
and the process takes the next message, perhaps of another backend. What comes for a busy ERP waits its turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

log = logging.getLogger("relais.tasks")

MOMENT: Final = 0.5  # seconds that a task waits for its batch where there are other backends
MOST_WAITING: Final = 100  # batches that may wait at one bulkhead; what comes beyond is dispatched again


class Bulkhead:
    """One backend's, in one process. Belongs to one event loop."""

    def __init__(self, room: int) -> None:
        """Batches run side by side as long as they have `room` orders together; a larger one runs alone."""
        self._room = room
        self._orders = 0
        self._waiting = 0
        self._turn = asyncio.Lock()  # whoever waits is served in order
        self._changed = asyncio.Event()

    async def run(self, orders: int, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do the work on so many orders in its turn; None when too much waits. Raises what the work raises."""
        if self._waiting >= MOST_WAITING:
            log.info("left for later, too much waits", extra={"orders": orders})
            return None
        await self._enter(orders)
        try:
            return await work()
        finally:
            self._orders -= orders
            self._changed.set()

    @property
    def busy(self) -> bool:
        """Whether orders are in hand."""
        return self._orders > 0

    async def idle(self) -> None:
        """Wait until nothing is in hand."""
        while self._orders or self._waiting:
            self._changed.clear()
            await self._changed.wait()

    async def _enter(self, orders: int) -> None:
        self._waiting += 1
        try:
            async with self._turn:
                while self._orders and self._orders + orders > self._room:
                    self._changed.clear()
                    await self._changed.wait()
                self._orders += orders
        finally:
            self._waiting -= 1
