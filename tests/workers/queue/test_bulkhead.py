"""A bulkhead: what runs side by side, what waits, and in which order."""

import asyncio

import pytest

from workers.queue.bulkhead import MOST_WAITING, Bulkhead


class Works:
    """Works that end when they are told to."""

    def __init__(self, room: int) -> None:
        self.bulkhead, self.begun = Bulkhead(room), list[str]()
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, name: str, orders: int) -> None:
        end = self._ends[name] = asyncio.Event()

        async def work() -> None:
            self.begun.append(name)
            await end.wait()

        self._tasks[name] = asyncio.create_task(self.bulkhead.run(orders, work))
        await settled()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self._tasks[name]
        await settled()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_small_batches_run_side_by_side_and_a_large_one_alone_and_in_order() -> None:
    async def run() -> None:
        works = Works(room=64)
        await works.begin("small", 30)
        await works.begin("another", 34)
        await works.begin("large", 200)
        await works.begin("late", 1)
        assert works.begun == ["small", "another"]
        await works.end("small")
        assert works.begun == ["small", "another"], "it does not overtake the large one that waits for the other"
        await works.end("another")
        assert works.begun == ["small", "another", "large"]
        await works.end("large")
        assert works.begun[-1] == "late"
        idle = asyncio.create_task(works.bulkhead.idle())
        await settled()
        assert not idle.done()
        await works.end("late")
        await idle

    asyncio.run(run())


def test_what_fails_makes_room_and_is_said() -> None:
    async def run() -> None:
        bulkhead = Bulkhead(1)

        async def fail() -> None:
            raise ValueError("no")

        for _ in range(3):
            with pytest.raises(ValueError, match="no"):
                await bulkhead.run(5, fail)
        await bulkhead.idle()

    asyncio.run(run())


def test_what_comes_when_too_much_waits_is_left_for_later() -> None:
    async def run() -> None:
        works = Works(room=1)
        for number in range(MOST_WAITING + 1):
            await works.begin(str(number), 1)

        async def never() -> None:
            raise AssertionError("it was to be left")

        await works.bulkhead.run(1, never)
        for number in range(MOST_WAITING + 1):
            await works.end(str(number))
        assert len(works.begun) == MOST_WAITING + 1

    asyncio.run(run())
