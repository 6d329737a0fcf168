"""A thread of a worker: what wakes it, and its stop."""

import time
from itertools import pairwise

from tests.waiting import until
from workers.background import Background

PAUSE = 0.3


class Working(Background):
    """Notes its rounds; woken while it is in the first one, and never again."""

    def __init__(self, pause: float) -> None:
        super().__init__("working")
        self.pause = pause
        self.rounds: list[float] = []

    async def _run(self) -> None:
        self._wake.set()
        while not self._stopping.is_set():
            self.rounds.append(time.monotonic())
            await self._pause(self.pause)


def test_one_call_wakes_it_once() -> None:
    working = Working(PAUSE)
    working.start()
    until(lambda: len(working.rounds) == 5)
    working.stop()
    first, *others = (later - earlier for earlier, later in pairwise(working.rounds[:5]))
    assert first < PAUSE, "what woke it in a round is another round's"
    assert min(others) >= PAUSE * 0.9


def test_a_stop_cuts_its_pause_short() -> None:
    working = Working(60.0)
    working.start()
    until(lambda: len(working.rounds) == 2)
    began = time.monotonic()
    working.stop(30.0)
    assert time.monotonic() - began < 10
