"""What is known of a store: what it said last, when that was, and since when it is out.

A store that hangs is as good as out: nobody waits for it longer than LOOK_TIMEOUT, and it is not asked again
while it has not yet answered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from orders.journal import unreachable

log = logging.getLogger("relais.console")

LOOK_TIMEOUT: Final = 2.0  # seconds
OUT_TIMEOUT: Final = 0.2  # seconds, for one that is out: it holds up no beat, and is asked all the same

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """`value` as of `at`, None before the store ever answered; `out` since when it has not, None while it does.

    `silent` is one whose looks ran out of time: of how it stands nothing is known since `out`, its last answer.
    """

    value: T | None = None
    at: datetime | None = None
    out: datetime | None = None
    silent: bool = False


class Watched(Generic[T]):
    """A store that is looked at again and again. Belongs to one event loop."""

    def __init__(self, name: str, look: Callable[[], Awaitable[T]], patience: float) -> None:
        """Nothing is known yet."""
        self.known: Known[T] = Known()
        self.took = 0.0  # seconds of the last look, 0 for one that got no answer
        self._asked = float("inf")  # when the look began that goes on, by the monotonic clock
        self._name, self._look, self._patience = name, look, patience
        self._looking: asyncio.Task[T] | None = None

    async def look(self) -> None:
        """Look once, or wait on for a look that has not ended; never longer than the patience, and raises nothing."""
        began = datetime.now(UTC)
        if self._looking is None:
            self._asked, self._looking = time.monotonic(), asyncio.ensure_future(self._bounded())
        patience = self._patience if self.known.out is None else min(OUT_TIMEOUT, self._patience)
        done, _ = await asyncio.wait([self._looking], timeout=patience)
        self.took = 0.0
        if not done:
            self._is_out(began, silent=True)
            return
        ended, self._looking = self._looking, None
        error = None if ended.cancelled() else ended.exception()
        if error is None and not ended.cancelled():
            self.known, self.took = Known(ended.result(), datetime.now(UTC)), time.monotonic() - self._asked
            return
        if error is not None and not unreachable(error):
            log.error("a look at a store failed", exc_info=error, extra={"store": self._name})
        self._is_out(began, silent=error is None or isinstance(error, TimeoutError))

    def silent(self, seconds: float) -> bool:
        """Whether it is out, or has let a look wait for so long by now."""
        waiting = self._looking is not None and time.monotonic() - self._asked > seconds
        return self.known.out is not None or waiting

    async def aclose(self) -> None:
        """Let go of a look that has not ended."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking], timeout=self._patience)

    async def _bounded(self) -> T:
        async with asyncio.timeout(self._patience):
            return await self._look()

    def _is_out(self, began: datetime, *, silent: bool) -> None:
        since = (self.known.at or began) if silent else began
        self.known = replace(self.known, out=self.known.out or since, silent=silent)
