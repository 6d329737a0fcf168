"""Watching the journal a few times a second: what the drawing shows and what the acts wait for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from orders.journal import unreachable
from orders.queries import backends as backend_rows
from orders.queries import orders as order_queries
from orders.states import BACKLOG, State
from workers.dispatch.leadership import leader

SAMPLE_PAUSE: Final = 0.2  # s
RATE_SPAN: Final = 1.6  # s over which a rate is taken


@dataclass(frozen=True, slots=True)
class Sample:
    """The journal at a moment: seconds since the first act, orders by what became of them, and the circuit."""

    at: float = 0.0
    accepted: int = 0
    delivered: int = 0
    dead: int = 0
    backlog: int = 0
    circuit: str = "closed"
    window: int = 0
    leading: bool = True


class SampleLog:
    """The samples so far, oldest first; never none."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Time runs from here."""
        self.samples = [Sample()]
        self._engine = engine
        self._began = time.monotonic()

    @property
    def now(self) -> Sample:
        """The newest sample."""
        return self.samples[-1]

    @property
    def elapsed(self) -> float:
        """Seconds since the first act."""
        return time.monotonic() - self._began

    def rates(self) -> tuple[float, float]:
        """Orders accepted and orders delivered a second, lately."""
        now = self.now
        then = next((each for each in self.samples if each.at >= now.at - RATE_SPAN), now)
        if now.at - then.at < RATE_SPAN / 4:
            return 0.0, 0.0
        seconds = now.at - then.at
        return (now.accepted - then.accepted) / seconds, (now.delivered - then.delivered) / seconds

    def growth(self, since: float) -> list[int]:
        """The window's sizes from then on, each by two thirds or more above the one before."""
        sizes: list[int] = []
        for size in (sample.window for sample in self.samples if sample.at > since):
            if not sizes or size >= 5 / 3 * sizes[-1]:
                sizes.append(size)
        return sizes

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            try:
                self.samples.append(await self._sample())
            except Exception as error:
                if not unreachable(error):
                    raise
            await asyncio.sleep(SAMPLE_PAUSE)

    async def _sample(self) -> Sample:
        counts = await order_queries.counts(self._engine)
        backends = await backend_rows.standing(self._engine)
        backend = backends[0] if backends else order_queries.Row(circuit="closed", window=0)
        return Sample(
            at=self.elapsed,
            accepted=sum(counts.values()),
            delivered=counts[State.DELIVERED],
            dead=counts[State.DEAD],
            backlog=sum(counts[state] for state in BACKLOG),
            circuit=str(backend["circuit"]),
            window=int(backend["window"]),
            leading=await leader(self._engine),
        )
