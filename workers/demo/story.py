"""The story: what is done in each act, and what must come of it within a bounded time.

An act lasts as long as planned, or longer when what it waits for is late; what does not come at all ends the play. What
is done to the ERP is another module's, for each ERP that it is played with.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import ClassVar, Final
from uuid import UUID

from config.embedded.marks import Mark
from workers.demo import LONGEST_PLAY
from workers.demo.drawing import PARTS, View
from workers.demo.pharmacies import PHARMACIES, Habit
from workers.demo.screen import Screen
from workers.demo.stage import DemoInstallation
from workers.demo.traffic import Traffic
from workers.demo.watch import SampleLog
from workers.demo.weekend import ACTS, Scene

POLL_PAUSE: Final = 0.05  # s between two looks


class Unfulfilled(Exception):
    """Something that had to happen did not, in the time that it was given."""


class Story(ABC):
    """The five acts, played on a stage that is open; which hours and shares each has, its `scenes` say."""

    scenes: ClassVar[Sequence[Scene]] = ACTS
    longest = LONGEST_PLAY  # s from the first process to the end of the last act; stopping comes on top

    def __init__(
        self,
        stage: DemoInstallation,
        traffic: Traffic,
        watch: SampleLog,
        screen: Screen,
        seconds: float,
        replay: Callable[[], Awaitable[object]],
    ) -> None:
        """`seconds` is what all acts together are planned to last; `replay` is what ops do once the ERP is back."""
        self.timings: dict[str, float] = {}
        self.stage, self.traffic, self.watch, self.replay = stage, traffic, watch, replay
        self._screen, self._seconds, self._orders = screen, seconds, traffic.left
        self._act, self._began = self.scenes[0], 0.0
        self._starts: list[float] = []
        self.erp_is_up = True
        self.given_up: set[UUID] = set()  # dead letters that people have given up for good

    async def play(self) -> None:
        """All acts, until the last order is final. Raises a group with Unfulfilled in it."""
        async with asyncio.TaskGroup() as group:
            aside = [group.create_task(self.watch.run()), group.create_task(self._screen.show(self.view))]
            group.create_task(self.traffic.flow())
            acts = (self.morning, self.attack, self.kill_worker, self.ruin_redis, self.come_back)
            for scene, act in zip(self.scenes, acts, strict=True):
                await act(scene)
            self.timings["acts"] = self.watch.elapsed
            for task in aside:
                task.cancel()

    def view(self) -> View:
        """What there is to see now."""
        alive = {**dict.fromkeys(self.stage.parts(), True), "erp": self.erp_is_up}
        return View(
            clock=self._clock(),
            act=f"{max(1, len(self._starts))} of {len(self.scenes)}: {self._act.title}",
            pharmacies=PHARMACIES,
            samples=self.watch.samples,
            rates=self.watch.rates(),
            parts={part: alive.get(part, False) for part in PARTS},
            acts=self._starts,
            span=self._seconds,
            planned=self._orders,
            wait=self.traffic.told.typical_wait(),
        )

    @abstractmethod
    async def morning(self, act: Scene) -> None:
        """The ERP takes what it is sent."""

    @abstractmethod
    async def attack(self, act: Scene) -> None:
        """The ERP goes."""

    @abstractmethod
    async def come_back(self, act: Scene) -> None:
        """The ERP is back; in the end no order is left."""

    async def kill_worker(self, act: Scene) -> None:
        """SIGKILL of the worker and all its processes."""
        async with self.on(act):
            await self.until(lambda: "worker" in self.stage.parts(), 20, "a worker ran")
            began, before = time.monotonic(), self.stage.kill("worker")
            await self._replaced("worker", before)
            took = self.done("worker_back", began)
            self.tell(f"Killed, process {before.pid}. Its successor leads after {took:.1f} s.")

    async def ruin_redis(self, act: Scene) -> None:
        """Redis loses all that it held, and its life."""
        async with self.on(act):
            self.traffic.slip_in([Habit.RETRIED] * 4)
            await self.until(lambda: "valkey" in self.stage.parts(), 20, "Redis ran")
            began, before = time.monotonic(), await self.stage.ruin_redis()
            await self._replaced("valkey", before)
            await self._until_redis_is_empty()
            took = self.done("redis_back", began)
            self.tell(f"Killed, process {before.pid}. Back after {took:.1f} s, and empty.")

    @asynccontextmanager
    async def on(self, act: Scene) -> AsyncIterator[None]:
        """An act from its announcement to the end of its planned time, which only the last one may undercut."""
        self._act, self._began = act, self.watch.elapsed
        self._starts.append(self._began)
        share = act.orders / sum(each.orders for each in self.scenes[len(self._starts) - 1 :])
        self.traffic.pace = self.traffic.left * share / self.planned(act)
        self._screen.announce(len(self._starts), act)
        yield
        if act is not self.scenes[-1]:
            await self.until(lambda: self._fraction() >= 1.0, self.planned(act) + 5, "time passed")

    async def _replaced(self, part: str, before: Mark) -> None:
        """Wait for a part's successor, and for a worker that leads: with Redis, a worker may have gone too."""
        await self.until(lambda: self.stage.parts().get(part, before) != before, 40, f"a new {part} was started")
        since = self.watch.elapsed
        ready = lambda: self.watch.now.at > since and self.watch.now.leading  # noqa: E731
        await self.until(ready, 40, "a worker led")

    async def _until_redis_is_empty(self) -> None:
        deadline = time.monotonic() + 20
        while (empty := await self.stage.redis_is_empty()) is None:
            if time.monotonic() > deadline:
                raise Unfulfilled("Redis did not answer again within 20 s")
            await asyncio.sleep(POLL_PAUSE)
        if not empty:
            raise Unfulfilled("Redis came back with what it had held: it has not lost everything")

    async def until(self, true: Callable[[], bool], within: float, what: str) -> None:
        """Wait until it is so. Raises Unfulfilled after `within` seconds."""
        deadline = time.monotonic() + within
        while not true():
            if self.stage.ended:
                raise Unfulfilled("`relais up` has ended by itself")
            if time.monotonic() > deadline:
                raise Unfulfilled(f"not within {within:g} s: {what}")
            await asyncio.sleep(POLL_PAUSE)

    def short_lives_are_over(self) -> bool:
        """Whether every order that was to be short-lived is past its time."""
        now = datetime.now(UTC)
        short = [each for each in self.traffic.told.orders.values() if each.habit is Habit.SHORT_LIVED]
        return all(each.valid_until is not None and each.valid_until < now for each in short)

    def all_is_final(self) -> bool:
        """Whether every pharmacy has its answer and no order is left."""
        now = self.watch.now
        return self.traffic.ended and not now.backlog and now.accepted >= len(self.traffic.told.orders)

    def planned(self, act: Scene) -> float:
        """Seconds."""
        return self._seconds * act.time

    def _fraction(self) -> float:
        return (self.watch.elapsed - self._began) / self.planned(self._act)

    def _clock(self) -> datetime:
        fraction = self._fraction()
        return self._act.clock(fraction if self._act is self.scenes[-1] else min(1.0, fraction))

    def tell(self, text: str) -> None:
        """Something happened, at this hour of the story."""
        self._screen.tell(self._clock(), text)

    def done(self, what: str, began: float) -> float:
        """Note how long something took, in seconds."""
        self.timings[what] = time.monotonic() - began
        return self.timings[what]
