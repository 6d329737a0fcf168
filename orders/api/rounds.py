"""What clients take turns at, in which order of haste: an order is served at once, and whatever else there is to do
waits for a moment in which none of another client's is in hand, though not for ever.

A turn of the event loop that a page or a batch takes keeps everybody waiting as long, and an order needs several of
them: so they are short, and orders go between them.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

from orders.api.turns import Crowd, Turns
from orders.errors import JournalDown, RelaisError

READERS: Final = 2  # connections to the journal for what is only read, and so many readings at once
STRANGERS: Final = 4  # requests without a known key that are looked at in one round
REFUSALS: Final = 4  # of one client at once while others are there
REFUSAL: Final = 0.03  # seconds that each takes then
COURTESY: Final = "relais.courtesy"  # of a reading's scope
GIVE_WAY: Final = 0.2  # seconds in all that a reading waits for others' orders
PIECE_WAITS: Final = 0.004  # seconds that a piece of a batch, or a large body, does


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
            async with self.refusals.of(client):
                await asyncio.sleep(REFUSAL * random.uniform(0.5, 1.5) if self.crowd.many else 0)

    def courtesy(self, client: str, seconds: float) -> Courtesy:
        """How long something of this client's waits for the orders of others."""
        return Courtesy(self, client, seconds)


class Courtesy:
    """`await courtesy.give_way()` wherever others may go first, until it has waited so long in all."""

    __slots__ = ("_client", "_left", "_rounds")

    def __init__(self, rounds: Rounds, client: str, seconds: float) -> None:
        """Not waited yet."""
        self._rounds, self._client, self._left = rounds, client, seconds

    async def give_way(self) -> None:
        """Let the event loop go round, and orders of others be done with."""
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0)
        if self._rounds.crowd.many and self._left > 0:
            await self._rounds.orders.pause(self._client, self._left)
            self._left -= asyncio.get_running_loop().time() - began
