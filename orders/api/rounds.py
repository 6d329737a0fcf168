"""What clients take turns at, in which order of haste: an order is served at once, and whatever else there is to do
waits for a moment in which none of another client's is in hand, though not for ever.

A turn of the event loop that a page or a batch takes keeps everybody waiting as long, and an order needs several of
them: so they are short, and orders go between them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from orders.api.turns import Crowd, Turns
from orders.errors import JournalDown, RelaisError

READERS: Final = 2  # connections to the journal for what is only read, and so many readings at once
STRANGERS: Final = 4  # requests without a known key that are looked at in one round
REFUSALS: Final = 4  # of one client at once while others are there
REFUSAL: Final = 0.03  # seconds that each takes then
GIVE_WAY: Final = 0.2  # seconds that a reading waits for others' orders
LARGE: Final = 16 * 1024  # bytes of a body that is read and parsed when nothing else large is
PIECE_WAITS: Final = 0.004  # seconds that a piece of a batch, or of a large body, waits for others' orders


class Rounds:
    """So many at once, and of one client fewer while others are there."""

    def __init__(self) -> None:
        """Nobody is there yet."""
        crowd = Crowd()
        self.orders = Turns(1_024, 32, crowd)
        self.groups = Turns(16, 2, crowd)  # of a batch's lines, on their way into the journal
        self.large = Turns(1, 1, crowd)  # bodies and pieces of batches that take a while to parse
        self.readings = Turns(READERS, 1, crowd)
        self.refusals = Turns(64, REFUSALS, crowd)
        self.strangers = Turns(STRANGERS, STRANGERS, Crowd())
        self.crowd = crowd

    async def refuse(self, error: Exception, client: str) -> None:
        """Before a refusal is told: while others are there a flood of them is slow. An outage is no client's doing."""
        if isinstance(error, RelaisError) and not isinstance(error, JournalDown):
            await self.refusal(client)

    async def refusal(self, client: str) -> None:
        """The same, of what is surely one."""
        async with self.refusals.of(client):
            await asyncio.sleep(REFUSAL * random.uniform(0.5, 1.5) if self.crowd.many else 0)

    @asynccontextmanager
    async def piece(self, client: str) -> AsyncIterator[None]:
        """A piece of what is large: one at a time, with a round of the event loop for everybody else before it."""
        async with self.large.of(client):
            await self.give_way(client, PIECE_WAITS)
            yield

    async def between(self, client: str, size: int) -> None:
        """Before more of a body is read, of which there are so many bytes."""
        if size > LARGE:
            async with self.piece(client):
                pass

    async def give_way(self, client: str, seconds: float) -> None:
        """Let the event loop go round, and orders of others be done with, so long at most."""
        await asyncio.sleep(0)
        if self.crowd.many:
            await self.orders.pause(client, seconds)
