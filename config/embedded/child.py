"""What a supervisor keeps running: a program, when it counts as ready, what tells that it hangs, and the pauses before
it is started again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from config.backoff import backoff
from config.embedded.process import Program
from config.embedded.service import Ready, Service


async def never(pid: int) -> None:
    """Of a child whose exit is all that tells how it is."""
    await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Child:
    """One program to keep running. `prepare` runs before every start; `ready` is asked after it until True.

    `hangs`, begun with the pid of each process, returns when that one has to be ended.
    """

    program: Program
    ready: Ready
    prepare: Callable[[], None] = field(default=lambda: None)
    patience: float = 60.0  # s until it must be ready at the first start
    hangs: Callable[[int], Awaitable[None]] = never
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
