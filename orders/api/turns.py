"""Who works now: clients take turns, so that whoever asks much waits behind itself and nobody waits behind it.

What waits costs a place in a queue. A client that is alone may have all turns; while others are there too, each has
few at once, for all that is begun in one round of the event loop keeps everybody else waiting as long.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from types import TracebackType
from typing import Final

MEMORY: Final = 1.0  # seconds for which a client counts as being there


class Crowd:
    """Whether more than one client is there."""

    __slots__ = ("_last", "_until")

    def __init__(self) -> None:
        """Nobody yet."""
        self._last: str | None = None
        self._until = float("-inf")

    def note(self, client: str) -> None:
        """A client asks for something."""
        if client != self._last:
            if self._last is not None:
                self._until = time.monotonic() + MEMORY
            self._last = client

    @property
    def many(self) -> bool:
        """More than one within the last second."""
        return time.monotonic() < self._until


class Turns:
    """`async with turns.of(client):` is a turn. Belongs to one event loop."""

    __slots__ = ("_crowd", "_each", "_free", "_most", "_pausing", "_running", "_waiting")

    def __init__(self, most: int, each: int, crowd: Crowd) -> None:
        """At most so many at once, and `each` of one client while the crowd is more than one."""
        self._free = self._most = most
        self._each = each
        self._crowd = crowd
        self._running: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # whose turn is next, first
        self._pausing: dict[asyncio.Future[None], str] = {}  # until nobody else has a turn

    def of(self, client: str) -> Turn:
        """A turn of this client's."""
        return Turn(self, client)

    def begin_now(self, client: str) -> bool:
        """Begin a turn where that takes no waiting; `end` ends it."""
        self._crowd.note(client)
        if self._free and client not in self._waiting and self._may(client):
            self._start(client)
            return True
        return False

    async def begin(self, client: str) -> None:
        """Wait for a turn."""
        if self.begin_now(client):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.end(client)
            raise

    def end(self, client: str) -> None:
        """The turn is over."""
        self._free += 1
        if left := self._running.pop(client) - 1:
            self._running[client] = left
        while self._waiting and self._free and (following := next(filter(self._may, self._waiting), None)) is not None:
            self._call(following)
        if self._pausing:
            self._go_on()

    async def pause(self, client: str, seconds: float) -> None:
        """Wait until nobody but this client has a turn, so long at most."""
        if not self._others(client):
            return
        pausing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pausing[pausing] = client
        try:
            await asyncio.wait([pausing], timeout=seconds)
        finally:
            self._pausing.pop(pausing, None)

    def _go_on(self) -> None:
        """Let those go on for which nobody else has a turn now."""
        for pausing in [each for each, client in self._pausing.items() if not self._others(client)]:
            del self._pausing[pausing]
            if not pausing.done():
                pausing.set_result(None)

    def _others(self, client: str) -> bool:
        return len(self._running) > (client in self._running)

    def _may(self, client: str) -> bool:
        return self._running.get(client, 0) < (self._each if self._crowd.many else self._most)

    def _start(self, client: str) -> None:
        self._free -= 1
        self._running[client] = self._running.get(client, 0) + 1

    def _call(self, client: str) -> None:
        """Give a client's oldest its turn, and let the others go before its next."""
        queue = self._waiting.pop(client)
        turn = queue.popleft()
        if queue:
            self._waiting[client] = queue
        if not turn.done():
            self._start(client)
            turn.set_result(None)


class Turn:
    """One turn, as a context manager."""

    __slots__ = ("_client", "_turns")

    def __init__(self, turns: Turns, client: str) -> None:
        """Not begun yet."""
        self._turns = turns
        self._client = client

    async def __aenter__(self) -> None:
        """Wait for it."""
        await self._turns.begin(self._client)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Let the next one go."""
        self._turns.end(self._client)
