"""Clients take turns: one that asks much waits behind itself, and those that wait may go away."""

import asyncio
from contextlib import suppress

import pytest

from orders.api import turns
from orders.api.rounds import LARGE, Rounds
from orders.api.turns import Crowd, Turns
from orders.errors import JournalDown, Throttled, Unauthorised


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


def test_what_pauses_goes_on_when_nobody_else_has_a_turn_or_its_time_is_over() -> None:
    async def main() -> None:
        bench = Bench(4, 4)
        await bench.come(*"ab")
        await asyncio.wait_for(Turns(1, 1, bench.crowd).pause("a", 60), 5)  # nobody is there
        pausing = [asyncio.create_task(bench.turns.pause(client, 60)) for client in "aac"]
        await settled()
        assert [each.done() for each in pausing] == [False] * 3
        bench.ends.pop(1).set()
        await asyncio.wait(pausing[:2], timeout=5)
        assert [each.done() for each in pausing] == [True, True, False], "only its own client's turn is left"
        await asyncio.wait_for(bench.turns.pause("c", 0.01), 5)
        pausing[2].cancel()
        await settled()
        await bench.finish()

    asyncio.run(main())


def test_what_gives_way_has_so_much_patience() -> None:
    async def main() -> None:
        rounds = Rounds()
        await rounds.give_way("a", 60)  # alone
        rounds.orders.begin_now("a")
        rounds.orders.begin_now("b")
        began = asyncio.get_running_loop().time()
        await rounds.give_way("a", 0.05)
        assert asyncio.get_running_loop().time() - began > 0.04
        waiting = asyncio.create_task(rounds.give_way("a", 60))
        await settled()
        assert not waiting.done()
        rounds.orders.end("b")
        await asyncio.wait_for(waiting, 5)

    asyncio.run(main())


def test_a_large_body_is_read_on_when_nothing_else_large_is_and_a_small_one_at_once() -> None:
    async def main() -> None:
        rounds = Rounds()
        async with rounds.piece("a"):
            await rounds.between("a", LARGE)
            reading = [asyncio.create_task(rounds.between("a", LARGE + 1)) for _ in range(2)]
            await settled()
            assert [each.done() for each in reading] == [False, False]
        await asyncio.wait_for(asyncio.gather(*reading), 5)

    asyncio.run(main())


def test_a_flood_of_refusals_is_slow_and_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        rounds, told = Rounds(), []
        rounds.crowd.note("calm")
        rounds.crowd.note("wild")

        async def refuse(client: str, error: Exception) -> None:
            await rounds.refuse(error, client)
            told.append(client)

        monkeypatch.setattr("orders.api.rounds.REFUSAL", 0.04)
        began = asyncio.get_running_loop().time()
        flood = [asyncio.create_task(refuse("wild", Throttled(1))) for _ in range(12)]
        await settled()
        outage = asyncio.create_task(refuse("wild", JournalDown("away")))
        await settled()
        assert outage.done() and told == ["wild"]
        await refuse("calm", Unauthorised("no key"))
        assert told.count("wild") <= 1 + 8, "another's waits behind none of them"
        await asyncio.gather(*flood)
        assert asyncio.get_running_loop().time() - began > 3 * 0.02

    asyncio.run(main())
