"""How much the intake takes on at once, and from whom: load is shed before memory is.

`LoadShedder` bounds what one process has in hand, in requests and in bytes of their bodies; past either it refuses at
once, since whoever waits for room takes room. A client may have as many places as are left, so that there is always
one for another: one alone has half of them at most, each of two a third. `ClientLimit` is what this room needs of a
rate limit: an answer at once, from what the process knows; who keeps count beyond it is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Protocol, Self

from orders.errors import Busy

MOST_REQUESTS: Final = 2000  # in hand at once, per process: several times what it answers in a second
MOST_BYTES: Final = 64 * 1024 * 1024  # of bodies in hand at once: memory that the machine surely has
LONGEST_NAP: Final = 1.0  # seconds until a batch asks again: its client's rate may have been raised meanwhile


class Places:
    """So many places, of which a client may have as many as are left. Belongs to one event loop."""

    __slots__ = ("_held", "most", "taken")

    def __init__(self, most: int) -> None:
        """None taken."""
        self.most = most
        self.taken = 0
        self._held: dict[str, int] = {}

    def room(self, client: str, count: int = 1) -> bool:
        """Whether the client may have so many more."""
        return self._held.get(client, 0) + count <= self.most - self.taken

    def take(self, client: str, count: int = 1) -> None:
        """Take so many. Raises Busy."""
        if not self.room(client, count):
            raise Busy("the intake has as much in hand as it takes from one client")
        self.force(client, count)

    def force(self, client: str, count: int) -> None:
        """Take so many that are needed whether there is room or not."""
        self.taken += count
        self._held[client] = self._held.get(client, 0) + count

    def free(self, client: str, count: int = 1) -> None:
        """Let go of so many."""
        self.taken -= count
        left = self._held.pop(client, 0) - count
        if left:
            self._held[client] = left

    @contextmanager
    def hold(self, client: str, count: int = 1) -> Iterator[None]:
        """Have so many for a while. Raises Busy on entering."""
        self.take(client, count)
        try:
            yield
        finally:
            self.free(client, count)


class LoadShedder:
    """What one process has in hand. Belongs to one event loop."""

    __slots__ = ("bytes", "requests")

    def __init__(self, requests: int, size: int) -> None:
        """At most so many requests, with so many bytes of bodies in all."""
        self.requests = Places(requests)
        self.bytes = Places(size)

    def enter(self, client: str) -> InHand:
        """`with shedder.enter(client) as hand:` is one request in hand. Raises Busy on entering: there is no room."""
        return InHand(self, client)


class InHand:
    """One request: a context manager that lets go of all that it holds, however it is left."""

    __slots__ = ("_client", "_held", "_shedder")

    def __init__(self, shedder: LoadShedder, client: str) -> None:
        """Holds nothing before it is entered."""
        self._shedder = shedder
        self._client = client
        self._held = 0

    def __enter__(self) -> Self:
        """Raise Busy when there is no room for another request."""
        self._shedder.requests.take(self._client)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Make room."""
        self._shedder.requests.free(self._client)
        if self._held:
            self._shedder.bytes.free(self._client, self._held)

    def hold(self, count: int) -> None:
        """Hold so many bytes more, until the end or `release`; to be called as they come. Raises Busy."""
        self._shedder.bytes.take(self._client, count)
        self._held += count

    def release(self, count: int) -> None:
        """Let go of so many of the bytes held."""
        self._shedder.bytes.free(self._client, count)
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
