"""What a supervisor keeps running: a program, when it counts as ready, what tells that it hangs, the pauses before it
is started again, and its spare: a process of its program that has loaded all that it needs and waits until it is told.

So a child that dies is replaced without the seconds that a start takes. A spare costs memory and, once, the processor
time of a start. It waits at its standard input: at the end of that, as when its supervisor dies, it ends too.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from config.backoff import backoff
from config.embedded.marks import Mark
from config.embedded.process import Process, Program
from config.embedded.service import Ready, Service

log = logging.getLogger(__name__)

SETTLED: Final = 5.0  # seconds after the start of a child, with others, until its spare is started
SOON: Final = 1.0  # seconds after one was used until another is, so that what took its place begins first
LOOK: Final = 0.1  # seconds between two looks whether one waits
GRACE: Final = 2.0  # seconds to end


async def never(pid: int) -> None:
    """Of a child whose exit is all that tells how it is."""
    await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Child:
    """One program to keep running. `prepare` runs before every start; `ready` is asked after it until True.

    `hangs`, begun with the pid of each process, returns when that one has to be ended. `spare` is the program of one
    that waits to take the place of a process that ended.
    """

    program: Program
    ready: Ready
    prepare: Callable[[], None] = field(default=lambda: None)
    patience: float = 60.0  # s until it must be ready at the first start
    hangs: Callable[[int], Awaitable[None]] = never
    spare: Program | None = None
    pause: float = math.inf  # s before a restart at most, where the supervisor's own bound is too long

    @classmethod
    def of(cls, service: Service) -> Child:
        """An embedded server as a child."""
        return cls(service.program(), service.ready, service.prepare)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses before a restart, in seconds."""

    first: float = 0.5
    most: float = 5.0
    healthy_after: float = 60.0

    def after(self, failures: int) -> float:
        """Before the restart after so many failures in a row."""
        return backoff(failures, self.first, self.most)


class Spare:
    """Of one child, by the program that waits; `hold` and `drop` are told of each process."""

    def __init__(self, program: Program, hold: Callable[[Mark], None], drop: Callable[[Mark], None]) -> None:
        """None waits yet."""
        self._program, self._hold, self._drop = program, hold, drop
        self._waiting: Process | None = None
        self._due = time.monotonic() + SETTLED  # one is started then

    @property
    def waits(self) -> bool:
        """Whether one does."""
        return self._waiting is not None and self._waiting.poll() is None

    async def keep(self) -> None:
        """See to it that one waits, without end."""
        while True:
            await asyncio.sleep(LOOK)
            if self._waiting is not None and not self.waits:
                self.end()
            if self._waiting is None and time.monotonic() >= self._due:
                self._start()

    def take(self, program: Program, rank: int, *, soon: bool) -> Process | None:
        """The one that waits, told to begin as the child of that program; None where there is none.

        Another is started SOON, or later.
        """
        due = time.monotonic() + (SOON if soon else SETTLED)
        if self._waiting is None or not self._waiting.begin():
            self.end()
            self._due = due
            return None
        spare, self._waiting, self._due = self._waiting, None, due
        self._drop(spare.mark)
        spare.becomes(program, rank)
        return spare

    def end(self) -> None:
        """End the one that waits, if any; blocks until then."""
        spare, self._waiting, self._due = self._waiting, None, time.monotonic() + SETTLED
        if spare is not None:
            spare.end(GRACE)
            self._drop(spare.mark)

    def _start(self) -> None:
        try:
            self._waiting = Process(self._program)
            self._hold(self._waiting.mark)
        except OSError as error:
            log.warning("no spare", extra={"child": self._program.name, "error": type(error).__name__})
            self._due = time.monotonic() + SETTLED
