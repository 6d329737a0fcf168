"""The weekend with the simulator that `relais up` starts: its dial takes the ERP away and gives it back slow."""

from __future__ import annotations

import time
from typing import Final

from orders.sentences import count
from workers.demo.pharmacies import Habit
from workers.demo.stage import QUICK
from workers.demo.story import Story
from workers.demo.weekend import Scene
from workers.erp.sim import Dial

FIT: Final = Dial.model_validate({"latency_ms": 30, "latency_sigma": 0.4})
DOWN: Final = Dial.model_validate({"down": True})
IN_FLIGHT: Final = 64 * int(QUICK["RELAIS_WORKER_CONCURRENCY"])  # calls to the ERP at once, by default settings
BUSY: Final = 0.5  # the share of them that is under way in the mean: a batch waits for its slowest order


class SimulatedStory(Story):
    """The ERP is the simulator."""

    async def morning(self, act: Scene) -> None:
        """It takes what it is sent."""
        async with self.on(act):
            await self.stage.dial(FIT)
            self.traffic.slip_in([Habit.UNKNOWN_PRODUCT] * 3 + [Habit.RETRIED] * 4)
        await self.until(lambda: self.watch.now.delivered > 0, 20, "an order was delivered")
        self.tell(f"{count(self.watch.now.delivered, 'order has', 'orders have')} been delivered.")

    async def attack(self, act: Scene) -> None:
        """It refuses every connection."""
        async with self.on(act):
            began = await self._turn(DOWN)
            odd = [Habit.SHORT_LIVED, Habit.RETRIED, Habit.UNKNOWN_PRODUCT, Habit.SHORT_LIVED]
            self.traffic.slip_in([*odd, Habit.REFERENCE_REUSED, *odd, *odd[:2]])
            await self.until(lambda: self.watch.now.circuit == "open", 20, "the circuit opened")
            self.done("circuit_opened", began)
            self.tell("The circuit is open: only a canary goes out now and then.")
        await self.until(lambda: self.traffic.all_slipped_in, 20, "every pharmacy was heard")

    async def come_back(self, act: Scene) -> None:
        """It is back, and slow."""
        async with self.on(act):
            await self.until(self.short_lives_are_over, 20, "the short-lived orders ran out")
            waiting, since = self.watch.now.backlog, self.watch.elapsed
            began = await self._turn(self._slow(waiting, self.planned(act)))
            await self.replay()
            self.traffic.pace = self.traffic.left / (self.planned(act) * 0.5)
            await self.until(lambda: self.watch.now.circuit == "closed", 30, "a canary came back")
            took = self.done("canary_back", began)
            self.tell(f"A canary came back after {took:.1f} s: the circuit closes.")
            await self.until(self.all_is_final, 80, "the backlog drained")
            took = self.done("drained", began)
            self.tell(f"The backlog of {waiting:,} drained in {took:.1f} s, new orders included.")
            self.tell(f"The window: {', '.join(map(str, self.watch.growth(since)))}.")

    async def _turn(self, dial: Dial) -> float:
        await self.stage.dial(dial)
        self.erp_is_up = not dial.down
        return time.monotonic()

    def _slow(self, waiting: int, planned: float) -> Dial:
        """An ERP that needs about half of the last act's `planned` seconds to take what has been waiting."""
        rate = waiting / (0.5 * planned) + 1
        median = 1000 * BUSY * IN_FLIGHT / rate
        return Dial.model_validate({"latency_ms": min(400.0, max(20.0, median)), "latency_sigma": 0.25})
