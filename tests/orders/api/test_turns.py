"""Clients take turns: one that asks much waits behind itself, and those that wait may go away."""

import asyncio
from contextlib import suppress

import pytest

from orders.api import turns
from orders.api.turns import Crowd, Turns


async def settled() -> None:
    """What can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


class Bench:
    """Callers that take a turn and keep it until they are told to go."""

    def __init__(self, most: int, each: int) -> None:
        self.crowd = Crowd()
        self.turns = Turns(most, each, self.crowd)
        self.order: list[str] = []
        self.ends: list[asyncio.Event] = []

    async def _work(self, client: str, end: asyncio.Event) -> None:
        async with self.turns.of(client):
            self.order.append(client)
            self.ends.append(end)
            await end.wait()

    async def come(self, *clients: str) -> list[asyncio.Task[None]]:
        came = [asyncio.create_task(self._work(client, asyncio.Event())) for client in clients]
        await settled()
        return came

    async def finish(self, count: int = 1) -> None:
        for _ in range(count):
            self.ends.pop(0).set()
            await settled()


def test_one_that_is_alone_has_all_turns() -> None:
    async def main() -> None:
        bench = Bench(4, 1)
        await bench.come(*"aaaaaa")
        assert bench.order == [*"aaaa"]
        await bench.finish(6)
        assert bench.order == [*"aaaaaa"]

    asyncio.run(main())


def test_while_others_are_there_each_has_a_few_and_the_turns_go_round() -> None:
    async def main() -> None:
        bench = Bench(2, 2)
        await bench.come(*"aaaaaaaa", "b", "c", "b")
        assert bench.order == [*"aa"]
        await bench.finish(9)
        assert bench.order == [*"aaabcabaaaa"]

    asyncio.run(main())


def test_a_flood_leaves_turns_for_one_that_comes_and_has_them_back_when_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        bench = Bench(100, 2)
        bench.crowd.note("b")
        await bench.come(*"aaaaa", "b")
        assert bench.order == [*"aab"]
        monkeypatch.setattr(turns, "MEMORY", -1.0)
        bench.crowd.note("b")
        bench.crowd.note("a")
        await bench.finish()
        assert bench.order == [*"aabaaa"]

    asyncio.run(main())


def test_who_goes_away_while_it_waits_takes_no_turn_and_costs_none() -> None:
    async def main() -> None:
        bench = Bench(1, 1)
        first, gone, called, last = await bench.come(*"aabb")
        gone.cancel()
        await settled()
        called_end = bench.ends.pop(0)
        called_end.set()
        await asyncio.sleep(0)
        called.cancel()
        with suppress(asyncio.CancelledError):
            await called
        await settled()
        assert bench.order[-1] == "b"
        await bench.finish()
        await asyncio.wait_for(asyncio.gather(first, last), 5)
        await bench.come("c")
        assert bench.order[-1] == "c"

    asyncio.run(main())
