"""A backlog drained through an ERP that takes so many orders at once and no more, as a simulation without any I/O.

What is simulated is what surrounds the window: batches of a few children, calls in flight, brief tries, orders that
step back. The window itself is the real one. Times are seconds of the simulation's own clock.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from config.settings import Settings
from workers.delivery.backend_state import BatchCounts, Circuit
from workers.delivery.circuit_breaker import advance
from workers.erp.attempts import TRIES

EPOCH = datetime(2024, 10, 19, 12, tzinfo=UTC)
SETTINGS = Settings(_env_file=None)
FIRST = Circuit("closed", 2, 0, 0, EPOCH - timedelta(hours=1), None, EPOCH - timedelta(hours=1), None, None)


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


@dataclass
class Limit:
    """The orders that the ERP takes at once, swinging by `drift` of it in `period` seconds; `noise` fails anyway."""

    orders: float
    drift: float = 0.0
    period: float = 20.0
    noise: float = 0.0

    def at(self, now: float) -> float:
        return self.orders * (1 + self.drift * math.sin(2 * math.pi * now / self.period))


@dataclass
class Batch:
    """Orders in the hands of one child."""

    waiting: int
    claimed: float
    waited: float
    out: int
    open: int = 0
    answered: int = 0
    failed: int = 0
    retried: int = 0
    in_a_row: int = 0
    unsent: int = 0
    over: bool = False


class Drain:
    """One drain of a backlog, from the first order to the last."""

    def __init__(
        self,
        backlog: int,
        limit: Limit,
        *,
        fixed: int | None = None,
        children: int = 4,
        seed: int = 1,
        latency: float = 0.1,
        hands: int = 64,
    ) -> None:
        self.limit, self.fixed, self.hands, self.latency = limit, fixed, hands, latency
        self.chance = random.Random(seed)
        random.seed(seed)  # the jitter of pauses
        self.circuit = replace(FIRST, window=fixed or 2)
        self.now, self.backlog, self.left, self.out = 0.0, backlog, backlog, 0
        self.idle, self.children, self.queue = children, children, []
        self.in_flight = self.calls = self.turned_away = self.done = self.trips = 0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = itertools.count()

    queue: list[tuple[int, float]]

    @property
    def errors(self) -> float:
        """Share of the calls that the ERP turned away."""
        return self.turned_away / self.calls

    @property
    def rate(self) -> float:
        """Orders a second."""
        return self.done / self.now

    def run(self) -> Drain:
        self._dispatch()
        while self.done < self.backlog and self.now < 36_000:
            self.now, _, act, arguments = heapq.heappop(self._events)
            act(*arguments)
        assert self.done == self.backlog
        return self

    def _later(self, seconds: float, act: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._number), act, arguments))

    def _dispatch(self) -> None:
        if len(self.queue) < self._hunger() and self.circuit.circuit != "open":
            window = 1 if self.circuit.circuit == "half_open" else self.circuit.window
            room = max(0, min(window - self.out, self.left))
            self.left -= room
            self.out += room
            most = self.hands if window <= self.hands * self.children else 200
            self.queue += [(min(most, room - start), self.now) for start in range(0, room, most)]
        while self.idle and self.queue:
            size, since = self.queue.pop(0)
            self.idle -= 1
            batch = Batch(size, self.now, self.now - since, size)
            for hand in range(min(size, self.hands)):
                self._later(0.0005 * hand, self._begin, batch)

    def _hunger(self) -> int:
        return 2 * self.children if self.circuit.window > self.hands * self.children else 1

    def _begin(self, batch: Batch) -> None:
        if batch.in_a_row >= SETTINGS.delivery.trip_after:
            batch.unsent, batch.waiting = batch.unsent + batch.waiting, 0
        if batch.waiting:
            batch.waiting -= 1
            batch.open += 1
            self._call(batch, 1)
        elif not batch.open and not batch.over:
            batch.over = True
            self._later(0.005, self._settle, batch)

    def _call(self, batch: Batch, tries: int) -> None:
        self.calls += 1
        if self.in_flight < self.limit.at(self.now) and self.chance.random() >= self.limit.noise:
            self.in_flight += 1
            self._later(self.latency * self.chance.lognormvariate(0, 0.2), self._answer, batch, tries)
            return
        self.turned_away += 1
        if tries < TRIES:
            self._later(self.chance.uniform(0.3, 1.0) * 0.1 * 2.0 ** (tries - 1), self._call, batch, tries + 1)
            return
        batch.failed, batch.retried, batch.in_a_row = batch.failed + 1, batch.retried + 1, batch.in_a_row + 1
        batch.open -= 1
        self._begin(batch)

    def _answer(self, batch: Batch, tries: int) -> None:
        self.in_flight -= 1
        self.done += 1
        batch.answered, batch.open, batch.in_a_row = batch.answered + 1, batch.open - 1, 0
        batch.retried += tries > 1
        self._begin(batch)

    def _settle(self, batch: Batch) -> None:
        self.out -= batch.out
        self.left += batch.unsent
        self.idle += 1
        if batch.failed:
            self._later(5.0, self._return, batch.failed)
        if self.fixed is None:
            self._advance(batch)
        self._dispatch()

    def _advance(self, batch: Batch) -> None:
        was = self.circuit
        success = at(self.now) if batch.answered else None
        met = BatchCounts(
            batch.answered, batch.failed, 0, at(batch.claimed), batch.waited, success, retried=batch.retried
        )
        self.circuit = advance(was, met, SETTINGS, at(self.now))
        if self.circuit.circuit == "open" and was.circuit != "open":
            assert self.circuit.probe_at is not None
            self.trips += 1
            self._later((self.circuit.probe_at - at(self.now)).total_seconds(), self._half_open)

    def _half_open(self) -> None:
        self.circuit = replace(self.circuit, circuit="half_open", changed_at=at(self.now))
        self._dispatch()

    def _return(self, orders: int) -> None:
        self.left += orders
        self._dispatch()
