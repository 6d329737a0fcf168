"""A front end that keeps its cursor sees every order, whatever was journalled late: pages follow the commits."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from pydantic import SecretStr
from sqlalchemy import text

from config.settings import Settings
from orders.access import clients
from orders.intake.entries import entry, write
from orders.intake.group_commit import Intake
from orders.intake.routing import always
from orders.intake.spill import SpillSigner
from orders.journal import connect, transactional
from tests.intake import NOWHERE, Call, order, over_http, serving
from tests.machines.roles import above
from workers.intake.spill_drain import unspill
from workers.intake.spill_store import RedisSpill

KEY = SpillSigner.of(SecretStr("a key that is shared"))
EACH = 300  # orders that each intake takes
LINES = 50  # of one request


class Lister:
    """A front end's: pages of a few, the last cursor kept."""

    def __init__(self, ask: Callable[[str], Awaitable[dict[str, Any]]], filters: str, limit: int) -> None:
        self.seen: list[str] = []
        self._ask, self._path, self._cursor = ask, f"/orders?{filters}&limit={limit}", ""

    async def poll(self) -> list[str]:
        """What the journal has behind the cursor."""
        shown: list[str] = []
        while True:
            page = await self._ask(self._path + (f"&cursor={self._cursor}" if self._cursor else ""))
            shown += [each["reference"] for each in page["orders"]]
            if page["next"] is None:
                self.seen += shown
                return shown
            self._cursor = page["next"]


async def spilled(store: RedisSpill, count: int) -> list[str]:
    """Orders that an intake takes now while PostgreSQL is away, and that wait in the spill."""
    engine = connect(NOWHERE, timeout=2)
    intake = Intake(engine, "erp", spill=(store, KEY))
    taken = [order(f"S{number}", pharmacy=f"P{number % 3}") for number in range(count)]
    assert {each.kept for each in await asyncio.gather(*(intake.accept(each, "front") for each in taken))} == {"spill"}
    await intake.close()
    await engine.dispose()
    return [each.reference for each in taken]


def test_listers_with_cursors_see_every_order_of_two_intakes_and_of_the_spill(settings: Settings) -> None:
    async def main() -> None:
        engine, store = connect(above(settings.need("database_url"))), RedisSpill(settings.need("redis_url"))
        headers = {"Authorization": f"Bearer {await clients.add(engine, 'front')}"}
        late = await spilled(store, 300)
        async with (
            serving(settings) as one,
            serving(settings) as two,
            aiohttp.ClientSession(headers=headers) as session,
        ):

            async def ask(path: str) -> dict[str, Any]:
                async with session.get(one + path) as answer:
                    assert answer.status == 200
                    return dict(await answer.json())

            async def hand_over(url: str, tag: str) -> list[str]:
                found = [f"{tag}{number}" for number in range(EACH)]
                for start in range(0, EACH, LINES):
                    lines = [order(each, pharmacy=f"P{len(each) % 3}") for each in found[start : start + LINES]]
                    body = b"\n".join(each.model_dump_json(exclude_none=True).encode() for each in lines)
                    async with session.post(f"{url}/orders/batch", data=body) as answer:
                        said = [json.loads(line)["status"] async for line in answer.content]
                    assert said == ["accepted"] * LINES
                return found

            async def drain() -> None:
                await all_listers[0].poll()  # some are listed that were taken after these
                async with engine.connect() as connection:
                    await unspill(connection, store, KEY, always("erp"))

            async def follow(lister: Lister, done: asyncio.Event) -> None:
                while not done.is_set():
                    await lister.poll()

            all_listers = [Lister(ask, "", 7), Lister(ask, "", 1), Lister(ask, "state=accepted", 40)]
            by_pharmacy = [Lister(ask, f"pharmacy=P{number}", 5) for number in range(3)]
            done = asyncio.Event()
            following = [asyncio.create_task(follow(each, done)) for each in (*all_listers, *by_pharmacy)]
            first, second, _ = await asyncio.gather(hand_over(one, "A"), hand_over(two, "B"), drain())
            done.set()
            await asyncio.gather(*following)
            for each in (*all_listers, *by_pharmacy):
                await each.poll()
            every = {*first, *second, *late}
            assert len(every) == 2 * EACH + 300
            for each in all_listers:
                assert {*each.seen} == every
            assert {reference for each in by_pharmacy for reference in each.seen} == every
        await store.close()
        await engine.dispose()

    asyncio.run(main())


def test_while_a_transaction_is_open_orders_are_listed_but_no_cursor_passes_it(settings: Settings) -> None:
    async def work(call: Call) -> None:
        async def ask(path: str) -> dict[str, Any]:
            return (await call("GET", path))[1]

        async def put(*references: str) -> None:
            async with engine.connect() as connection:
                await write(connection, [entry(order(each), "front", "erp") for each in references])

        engine = connect(above(settings.need("database_url")))
        by_one, by_three = Lister(ask, "", 1), Lister(ask, "", 3)
        await put("A1", "A2")
        async with transactional(engine).begin() as slow:
            await write(slow, [entry(order("SLOW"), "front", "erp")])
            await put("B1")
            assert await by_three.poll() == ["A1", "A2", "B1"]
            assert await by_one.poll() == ["A1", "A2", "B1"]
            await put("B2", "B3", "B4")
            assert await by_three.poll() == ["A1", "A2", "B1", "B2", "B3"]
            assert await by_three.poll() == ["B1", "B2", "B3"]
            assert await by_one.poll() == ["B1"]
        assert await by_three.poll() == ["SLOW", "B1", "B2", "B3", "B4"]
        assert (await by_one.poll())[:2] == ["SLOW", "B1"]
        await engine.dispose()

    over_http(settings, work)


def test_a_transaction_elsewhere_in_the_cluster_holds_cursors_back_and_costs_no_order(settings: Settings) -> None:
    async def work(call: Call) -> None:
        async def ask(path: str) -> dict[str, Any]:
            return (await call("GET", path))[1]

        engine, lister = connect(above(settings.need("database_url"))), Lister(ask, "", 2)
        references = [f"R{number}" for number in range(5)]
        async with transactional(engine).begin() as other:
            await other.execute(text("CREATE TEMP TABLE elsewhere ()"))  # takes a number, as whatever writes does
            for reference in references:
                await call("POST", "/orders", json=json.loads(order(reference).model_dump_json(exclude_none=True)))
            assert await lister.poll() == await lister.poll() == ["R0", "R1"]
        assert await lister.poll() == references
        await engine.dispose()

    over_http(settings, work)


def test_since_is_about_reception_and_the_list_goes_on_from_there(settings: Settings) -> None:
    async def work(call: Call) -> None:
        async def ask(path: str) -> dict[str, Any]:
            return (await call("GET", path))[1]

        engine = connect(above(settings.need("database_url")))
        late, *rest = (entry(order(f"R{number}"), "front", "erp") for number in range(6))
        async with engine.connect() as connection:
            for each in (*rest, late):
                await write(connection, [each])
            received = text("SELECT date_trunc('second', now() - interval '1 hour')")
            since = (await connection.execute(received)).scalar_one().strftime("%Y-%m-%dT%H:%M:%SZ")
        assert await Lister(ask, f"since={since}", 2).poll() == ["R1", "R2", "R3", "R4", "R5", "R0"]
        assert await Lister(ask, "since=2000-01-01T00:00:00Z&state=dead", 2).poll() == []
        await engine.dispose()

    over_http(settings, work)
