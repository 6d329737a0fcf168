"""The story: what is done in each act, and what must come of it within a bounded time.

An act lasts as long as planned, or longer when what it waits for is late; what does not come at all ends the play.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from config.embedded.marks import Mark
from orders.sentences import count
from workers.demo.drawing import PARTS, View
from workers.demo.pharmacies import PHARMACIES, Habit
from workers.demo.screen import Screen
from workers.demo.stage import QUICK, DemoInstallation
from workers.demo.traffic import Traffic
from workers.demo.watch import SampleLog
from workers.demo.weekend import ACTS, ATTACK, MORNING, REDIS, RETURN, WORKER, Scene
from workers.erp.sim import Dial

FIT: Final = Dial.model_validate({"latency_ms": 30, "latency_sigma": 0.4})
DOWN: Final = Dial.model_validate({"down": True})
IN_FLIGHT: Final = 64 * int(QUICK["RELAIS_WORKER_CONCURRENCY"])  # calls to the ERP at once, by default settings
BUSY: Final = 0.5  # the share of them that is under way in the mean: a batch waits for its slowest order
POLL_PAUSE: Final = 0.05  # s between two looks


class Unfulfilled(Exception):
    """Something that had to happen did not, in the time that it was given."""


class Story:
    """The five acts, played on a stage that is open."""

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
        self._stage, self._traffic, self._watch, self._screen = stage, traffic, watch, screen
        self._seconds, self._orders = seconds, traffic.left
        self._replay = replay
        self._act, self._began = MORNING, 0.0
        self._starts: list[float] = []
        self._erp_is_up = True

    async def play(self) -> None:
        """All acts, until the last order is final. Raises a group with Unfulfilled in it."""
        async with asyncio.TaskGroup() as group:
            aside = [group.create_task(self._watch.run()), group.create_task(self._screen.show(self.view))]
            group.create_task(self._traffic.flow())
            for act in (self._morning, self._attack, self._worker, self._redis, self._return):
                await act()
            self.timings["acts"] = self._watch.elapsed
            for task in aside:
                task.cancel()

    def view(self) -> View:
        """What there is to see now."""
        alive = {**dict.fromkeys(self._stage.parts(), True), "erp": self._erp_is_up}
        return View(
            clock=self._clock(),
            act=f"{ACTS.index(self._act) + 1} of {len(ACTS)}: {self._act.title}",
            pharmacies=PHARMACIES,
            samples=self._watch.samples,
            rates=self._watch.rates(),
            parts={part: alive.get(part, False) for part in PARTS},
            acts=self._starts,
            span=self._seconds,
            planned=self._orders,
            wait=self._traffic.told.typical_wait(),
        )

    async def _morning(self) -> None:
        async with self._on(MORNING):
            await self._stage.dial(FIT)
            self._traffic.slip_in([Habit.UNKNOWN_PRODUCT] * 3 + [Habit.RETRIED] * 4)
        await self._until(lambda: self._watch.now.delivered > 0, 20, "an order was delivered")
        self._tell(f"{count(self._watch.now.delivered, 'order has', 'orders have')} been delivered.")

    async def _attack(self) -> None:
        async with self._on(ATTACK):
            began = await self._turn(DOWN)
            odd = [Habit.SHORT_LIVED, Habit.RETRIED, Habit.UNKNOWN_PRODUCT, Habit.SHORT_LIVED]
            self._traffic.slip_in([*odd, Habit.REFERENCE_REUSED, *odd, *odd[:2]])
            await self._until(lambda: self._watch.now.circuit == "open", 20, "the circuit opened")
            self._done("circuit_opened", began)
            self._tell("The circuit is open: only a canary goes out now and then.")
        await self._until(lambda: self._traffic.all_slipped_in, 20, "every pharmacy was heard")

    async def _worker(self) -> None:
        async with self._on(WORKER):
            await self._until(lambda: "worker" in self._stage.parts(), 20, "a worker ran")
            began, before = time.monotonic(), self._stage.kill("worker")
            await self._replaced("worker", before)
            took = self._done("worker_back", began)
            self._tell(f"Killed, process {before.pid}. Its successor leads after {took:.1f} s.")

    async def _redis(self) -> None:
        async with self._on(REDIS):
            self._traffic.slip_in([Habit.RETRIED] * 4)
            await self._until(lambda: "valkey" in self._stage.parts(), 20, "Redis ran")
            began, before = time.monotonic(), await self._stage.ruin_redis()
            await self._replaced("valkey", before)
            await self._until_redis_is_empty()
            took = self._done("redis_back", began)
            self._tell(f"Killed, process {before.pid}. Back after {took:.1f} s, and empty.")

    async def _return(self) -> None:
        async with self._on(RETURN):
            await self._until(self._short_lives_are_over, 20, "the short-lived orders ran out")
            waiting, since = self._watch.now.backlog, self._watch.elapsed
            began = await self._turn(self._slow(waiting))
            await self._replay()
            self._traffic.pace = self._traffic.left / (self._planned(RETURN) * 0.5)
            await self._until(lambda: self._watch.now.circuit == "closed", 30, "a canary came back")
            took = self._done("canary_back", began)
            self._tell(f"A canary came back after {took:.1f} s: the circuit closes.")
            await self._until(self._all_is_final, 80, "the backlog drained")
            took = self._done("drained", began)
            self._tell(f"The backlog of {waiting:,} drained in {took:.1f} s, new orders included.")
            self._tell(f"The window: {', '.join(map(str, self._watch.growth(since)))}.")

    @asynccontextmanager
    async def _on(self, act: Scene) -> AsyncIterator[None]:
        """An act from its announcement to the end of its planned time, which only the last one may undercut."""
        self._act, self._began = act, self._watch.elapsed
        self._starts.append(self._began)
        share = act.orders / sum(each.orders for each in ACTS[ACTS.index(act) :])
        self._traffic.pace = self._traffic.left * share / self._planned(act)
        self._screen.announce(len(self._starts), act)
        yield
        if act is not RETURN:
            await self._until(lambda: self._fraction() >= 1.0, self._planned(act) + 5, "time passed")

    async def _replaced(self, part: str, before: Mark) -> None:
        """Wait for a part's successor, and for a worker that leads: with Redis, a worker may have gone too."""
        await self._until(lambda: self._stage.parts().get(part, before) != before, 40, f"a new {part} was started")
        since = self._watch.elapsed
        ready = lambda: self._watch.now.at > since and self._watch.now.leading  # noqa: E731
        await self._until(ready, 40, "a worker led")

    async def _until_redis_is_empty(self) -> None:
        deadline = time.monotonic() + 20
        while (empty := await self._stage.redis_is_empty()) is None:
            if time.monotonic() > deadline:
                raise Unfulfilled("Redis did not answer again within 20 s")
            await asyncio.sleep(POLL_PAUSE)
        if not empty:
            raise Unfulfilled("Redis came back with what it had held: it has not lost everything")

    async def _turn(self, dial: Dial) -> float:
        await self._stage.dial(dial)
        self._erp_is_up = not dial.down
        return time.monotonic()

    async def _until(self, true: Callable[[], bool], within: float, what: str) -> None:
        """Wait until it is so. Raises Unfulfilled after `within` seconds."""
        deadline = time.monotonic() + within
        while not true():
            if self._stage.ended:
                raise Unfulfilled("`relais up` has ended by itself")
            if time.monotonic() > deadline:
                raise Unfulfilled(f"not within {within:g} s: {what}")
            await asyncio.sleep(POLL_PAUSE)

    def _slow(self, waiting: int) -> Dial:
        """An ERP that needs about half of the last act to take what has been waiting."""
        rate = waiting / (0.5 * self._planned(RETURN)) + 1
        median = 1000 * BUSY * IN_FLIGHT / rate
        return Dial.model_validate({"latency_ms": min(400.0, max(20.0, median)), "latency_sigma": 0.25})

    def _short_lives_are_over(self) -> bool:
        now = datetime.now(UTC)
        short = [each for each in self._traffic.told.orders.values() if each.habit is Habit.SHORT_LIVED]
        return all(each.valid_until is not None and each.valid_until < now for each in short)

    def _all_is_final(self) -> bool:
        now = self._watch.now
        return self._traffic.ended and not now.backlog and now.accepted >= len(self._traffic.told.orders)

    def _planned(self, act: Scene) -> float:
        return self._seconds * act.time

    def _fraction(self) -> float:
        return (self._watch.elapsed - self._began) / self._planned(self._act)

    def _clock(self) -> datetime:
        fraction = self._fraction()
        return self._act.clock(fraction if self._act is RETURN else min(1.0, fraction))

    def _tell(self, text: str) -> None:
        self._screen.tell(self._clock(), text)

    def _done(self, what: str, began: float) -> float:
        """Note how long something took, in seconds."""
        self.timings[what] = time.monotonic() - began
        return self.timings[what]
