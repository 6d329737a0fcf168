"""How much the intake takes on at once, and from whom: load is shed before memory is.

`LoadShedder` bounds what one process has in hand, in requests and in bytes of their bodies; past either it refuses at
once, since whoever waits for room takes room. `ClientLimit` is what this room needs of a rate limit: an answer at once,
from what the process knows; who keeps count beyond it is handed in.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Protocol, Self

from orders.errors import Busy

MOST_REQUESTS: Final = 2000  # in hand at once, per process: several times what it answers in a second
MOST_BYTES: Final = 64 * 1024 * 1024  # of bodies in hand at once: memory that the machine surely has
LONGEST_NAP: Final = 1.0  # seconds until a batch asks again: its client's rate may have been raised meanwhile


class LoadShedder:
    """What one process has in hand. Belongs to one event loop."""

    __slots__ = ("bytes", "most_bytes", "most_requests", "requests")

    def __init__(self, requests: int, size: int) -> None:
        """At most so many requests, with so many bytes of bodies in all."""
        self.requests = 0
        self.bytes = 0
        self.most_requests = requests
        self.most_bytes = size

    def enter(self) -> InHand:
        """`with shedder.enter() as hand:` is one request in hand. Raises Busy on entering when there is no room."""
        return InHand(self)


class InHand:
    """One request: a context manager that lets go of all that it holds, however it is left."""

    __slots__ = ("_held", "_shedder")

    def __init__(self, shedder: LoadShedder) -> None:
        """Holds nothing before it is entered."""
        self._shedder = shedder
        self._held = 0

    def __enter__(self) -> Self:
        """Raise Busy when there is no room for another request."""
        shedder = self._shedder
        if shedder.requests >= shedder.most_requests:
            raise Busy("the intake has as many requests in hand as it takes")
        shedder.requests += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Make room."""
        self._shedder.requests -= 1
        self._shedder.bytes -= self._held

    def hold(self, count: int) -> None:
        """Hold so many bytes more, until the end or `release`; to be called as they come. Raises Busy."""
        shedder = self._shedder
        if shedder.bytes + count > shedder.most_bytes:
            raise Busy("the intake has as much in hand as it takes")
        shedder.bytes += count
        self._held += count

    def release(self, count: int) -> None:
        """Let go of so many of the bytes held."""
        self._shedder.bytes -= count
        self._held -= count


class ClientLimit(Protocol):
    """A limit per client on orders a second."""

    open: bool  # nobody is limited just now, since the count cannot be kept
    errors: int  # times that it could not be kept

    def spend(self, client: str, orders: int, rate: float | None, burst: int | None) -> float:
        """Spend room for so many orders: 0 when there was room, else the seconds until there is; never waits.

        `rate` in orders a second and `burst` in orders are the client's own, None for the default. More than a burst
        at once is taken when a whole burst is there, and the rest is a debt.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


async def wait(limit: ClientLimit, client: str, orders: int, rate: float | None, burst: int | None) -> None:
    """Spend room for a part of a batch once there is some: who sends much waits instead of being refused."""
    while pause := limit.spend(client, orders, rate, burst):  # noqa: ASYNC110 - nobody knows earlier
        await asyncio.sleep(min(pause, LONGEST_NAP))
