"""All connections of one process: how many there may be, which goes first, and which has lasted too long.

A connection that has no request in hand gives way to one that comes: those that never said anything first, then the
longest idle. Only when every one has a request in hand do those that come find a small reserve, for health checks
alone. Time is kept here for all, by one look a second, so that a request costs no timer. Those that end and read on
for a moment take turns at it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any, Final, Protocol

from pydantic_core import to_json

log = logging.getLogger("relais.connections")

MOST_CONNECTIONS: Final = 8_000  # connections of one process, where its open files allow
RESERVE: Final = 32  # connections more, on which health checks alone are answered
READ_ON: Final = 0.004  # seconds between two pieces, of all connections together, that are read only to be thrown away
LOOK: Final = 1.0  # seconds between two looks at who has lasted too long
TOLD_EVERY: Final = 10.0  # seconds between two lines in the log
REASONS: Final = ("silent", "head", "body", "unread", "idle", "evicted", "refused", "malformed")
ORDINARY: Final = {"idle", "malformed"}  # which no line in the log is worth


class Held(Protocol):
    """A connection, as all of them together see it."""

    def overdue(self, now: float) -> str | None:
        """Why it has lasted too long, one of REASONS, or None."""
        ...

    def end(self) -> None:
        """End it now."""
        ...

    def read_on(self) -> None:
        """Read one piece more of what nobody wants."""
        ...


class Connections:
    """The connections of one process. Belongs to one event loop."""

    def __init__(self, most: int = MOST_CONNECTIONS) -> None:
        """At most so many, and RESERVE for health checks."""
        self.most = most
        self.ended: Counter[str] = Counter()  # by reason; only those that their client did not end
        self._all: set[Held] = set()
        self._silent: dict[Held, None] = {}  # has not asked anything yet, the oldest first
        self._idle: dict[Held, None] = {}  # between two requests, the longest idle first
        self._lingering: dict[Held, None] = {}  # reads on before it ends, whose turn is next first
        self._reading_on: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._told: Counter[str] = Counter()
        self._told_at = float("-inf")

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._all)

    @property
    def crowded(self) -> bool:
        """Whether what comes now is answered only if it is a health check."""
        return len(self._all) > self.most

    def admit(self, connection: Held, loop: asyncio.AbstractEventLoop) -> bool:
        """Take in a new one, for which the one that waits longest goes; False when there is no place at all."""
        if len(self._all) >= self.most and (oldest := next(iter(self._silent or self._idle), None)) is not None:
            self.count_ended("evicted")
            self.forget(oldest)
            oldest.end()
        if len(self._all) >= self.most + RESERVE:
            return False
        self._all.add(connection)
        self._silent[connection] = None
        if self._looking is None:
            self._looking = loop.call_later(LOOK, self._look, loop)
        return True

    def busy(self, connection: Held) -> None:
        """It has a request in hand now."""
        if self._idle.pop(connection, self) is self:
            self._silent.pop(connection, None)

    def idle(self, connection: Held) -> None:
        """It has no request in hand any more."""
        if connection in self._all:
            self._idle[connection] = None

    def linger(self, connection: Held, loop: asyncio.AbstractEventLoop) -> None:
        """It will `read_on` when its turn comes, so that a flood of what is refused takes little of the event loop."""
        self._lingering[connection] = None
        if self._reading_on is None:
            self._reading_on = loop.call_later(READ_ON, self._read_on, loop)

    def forget(self, connection: Held) -> None:
        """It is gone."""
        self._all.discard(connection)
        self._lingering.pop(connection, None)
        self.busy(connection)

    def count_ended(self, reason: str) -> None:
        """Count one that was ended from this side."""
        self.ended[reason] += 1

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [*self._all]:
            if (reason := connection.overdue(now)) is not None:
                self.count_ended(reason)
                connection.end()
        if now - self._told_at >= TOLD_EVERY and self._tell():
            self._told_at = now
        self._looking = loop.call_later(LOOK, self._look, loop) if self._all else None

    def _read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        following = next(iter(self._lingering), None)
        self._reading_on = loop.call_later(READ_ON, self._read_on, loop) if following is not None else None
        if following is not None:
            del self._lingering[following]
            following.read_on()

    def _tell(self) -> bool:
        """Log how many were ended since the last time, if any that somebody might miss."""
        new = self.ended - self._told
        self._told = self.ended.copy()
        if not new.keys() - ORDINARY:
            return False
        log.warning("connections were ended or refused", extra={"open": self.count, "most": self.most, **new})
        return True


async def answer_crowded(scope: Any, receive: Any, send: Any) -> None:
    """There are as many connections as may be, and this is not for a health check."""
    body = to_json({"type": "urn:relais:problem:busy", "status": 503, "title": "the intake has too much in hand"})
    headers = [(b"content-type", b"application/problem+json"), (b"retry-after", b"5"), (b"connection", b"close")]
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
