"""The front end: hands orders to the intake over HTTP at a pace, and remembers what it was told.

It behaves as an honest client does: no connection and 503 mean that it asks again, nothing else does. What it was
told is the measure of everything that the ledger says.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import aiohttp

from workers.demo.pharmacies import Habit, Pharmacies, Planned

FLIGHTS: Final = 64  # orders on their way at once
BEAT: Final = 0.05  # s
GAP: Final = 7  # orders between two odd ones
ANSWER_WITHIN: Final = 40.0  # s for one order's answer, all tries together
TRY_TIMEOUT: Final = 15.0  # s for one try
AGAIN: Final = 0.25  # s between tries
SECOND_THOUGHTS: Final = 0.5  # s after which a client sends its order again


@dataclass(slots=True)
class Told:
    """What the front end was told: the orders behind every id that it got, and what it did not expect to hear."""

    orders: dict[UUID, Planned] = field(default_factory=dict)
    repeated: int = 0
    conflicts: int = 0
    tries_again: int = 0
    surprises: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)  # s until each first answer

    def typical_wait(self) -> float:
        """The median of the last answers, seconds; 0 before the first."""
        latest = sorted(self.waits[-200:])
        return latest[len(latest) // 2] if latest else 0.0


class Traffic:
    """The pharmacies' orders on their way. `pace` (orders a second) may be changed at any time.

    `left` is how many are still to be made; `ended` says that none are and that every one has its answer.
    """

    def __init__(self, url: str, key: str, pharmacies: Pharmacies, most: int) -> None:
        """At most `most` orders in all."""
        self.told = Told()
        self.pace = 0.0
        self.left = most
        self.ended = False
        self._url = f"{url}/orders"
        self._key = key
        self._pharmacies = pharmacies
        self._odd: deque[Habit] = deque()
        self._made = 0

    def slip_in(self, habits: Iterable[Habit]) -> None:
        """Give some of the next orders these habits."""
        self._odd.extend(habits)

    @property
    def all_slipped_in(self) -> bool:
        """True when no habit is waiting for its order."""
        return not self._odd

    async def flow(self) -> None:
        """Order at the pace until none are left and every one has its answer."""
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        connector = aiohttp.TCPConnector(limit=FLIGHTS)
        timeout = aiohttp.ClientTimeout(total=TRY_TIMEOUT)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session,
            asyncio.TaskGroup() as group,
        ):
            due, then = 0.0, time.monotonic()
            while self.left:
                await asyncio.sleep(BEAT * random.uniform(0.5, 1.5))
                now = time.monotonic()
                due, then = due + self.pace * (now - then), now
                for _ in range(min(int(due), self.left)):
                    group.create_task(self._serve(session, self._next()))
                    self.left -= 1
                due %= 1.0
        self.ended = True

    def _next(self) -> Planned:
        self._made += 1
        odd = self._odd and (self._made % GAP == 0 or self.left <= len(self._odd))
        return self._pharmacies.order(self._odd.popleft() if odd else Habit.PLAIN)

    async def _serve(self, session: aiohttp.ClientSession, order: Planned) -> None:
        """One order, with whatever its client does besides."""
        first = await self._place(session, order)
        if first is None or order.habit not in (Habit.RETRIED, Habit.REFERENCE_REUSED):
            return
        await asyncio.sleep(SECOND_THOUGHTS)
        if order.habit is Habit.RETRIED:
            await self._repeat(session, order, first)
        else:
            await self._reuse(session, order, first)

    async def _place(self, session: aiohttp.ClientSession, order: Planned) -> UUID | None:
        began = time.monotonic()
        status, answer = await self._ask(session, order.body)
        # A 200 here: an earlier try was taken and its answer lost on the way.
        if status not in (200, 202):
            self.told.surprises.append(f"an order was answered {status}")
            return None
        self.told.waits.append(time.monotonic() - began)
        order_id = UUID(answer["id"])
        if order_id in self.told.orders:
            self.told.surprises.append(f"two orders were given the id {order_id}")
        self.told.orders[order_id] = order
        return order_id

    async def _repeat(self, session: aiohttp.ClientSession, order: Planned, first: UUID) -> None:
        status, answer = await self._ask(session, order.body)
        if status == 200 and answer.get("id") == str(first):
            self.told.repeated += 1
        else:
            self.told.surprises.append(f"an order sent again was answered {status}, not 200 with its first id")

    async def _reuse(self, session: aiohttp.ClientSession, order: Planned, first: UUID) -> None:
        status, answer = await self._ask(session, order.altered())
        if status == 409 and answer.get("first") == str(first):
            self.told.conflicts += 1
        else:
            self.told.surprises.append(f"a reference used again for another order was answered {status}, not 409")

    async def _ask(self, session: aiohttp.ClientSession, body: bytes) -> tuple[int, dict[str, str]]:
        """The intake's answer, asking again while there is none; status 0 when patience is at its end."""
        deadline = time.monotonic() + ANSWER_WITHIN
        while time.monotonic() < deadline:
            try:
                async with session.post(self._url, data=body) as answer:
                    status, said = answer.status, await answer.read()
                if status != 503:
                    return status, json.loads(said)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                pass
            self.told.tries_again += 1
            await asyncio.sleep(AGAIN)
        return 0, {}
