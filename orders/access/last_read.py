"""What a process last read of the journal, and when: keys are asked for far more often than they change.

One reading at a time, shared by all who wait for it. Where it fails, what was last known stays: a journal that is
down locks nobody out who was known before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from orders.journal import unreachable

log = logging.getLogger("relais.keys")

READ_TIMEOUT: Final = 2.0  # seconds for a reading; who needs it waits for it

T = TypeVar("T")


class LastRead(Generic[T]):
    """The last reading. One instance per process and event loop."""

    def __init__(self, read: Callable[[], Awaitable[T]], first: T, *, every: float | None = None) -> None:
        """`first` until something was read. After the first use read again `every` so many seconds, asked or not."""
        self._read, self._every = read, every
        self.value = first
        self.blind = True  # the last reading failed, or there was none
        self.began = float("-inf")  # monotonic
        self._reading: asyncio.Task[None] | None = None
        self._next: asyncio.TimerHandle | None = None

    async def within(self, age: float) -> T:
        """The value, read again first when the last reading began more than `age` seconds ago."""
        if self._reading is None or time.monotonic() - self.began > age:
            self._begin()
        assert self._reading is not None
        await asyncio.shield(self._reading)
        return self.value

    async def rest(self) -> None:
        """Let a reading end, and read no more until asked."""
        self._cancel()
        if self._reading is not None:
            await asyncio.wait({self._reading})
        self._cancel()

    def _cancel(self) -> None:
        if self._next is not None:
            self._next.cancel()

    def _begin(self) -> None:
        """Read, unless that is being done: a journal that does not answer is asked once at a time."""
        if self._reading is None or self._reading.done():
            self.began = time.monotonic()
            self._reading = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                self.value = await self._read()
            self.blind = False
        except Exception as error:
            self.blind = True
            if not unreachable(error):
                log.exception("the keys cannot be read")
        self._cancel()
        if self._every is not None:
            self._next = asyncio.get_running_loop().call_later(self._every, self._begin)
