"""The index of products: complete whatever commits late, filled from an old journal, gone on with after a death."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from orders.intake.entries import entry, write
from orders.intake.group_commit import Intake
from orders.journal import connect, transactional
from orders.model import parse
from orders.queries.products import LOCK, Filling, complete_at, holding, products_in
from tests.waiting import auntil, until
from workers.product_indexer import Indexer

DOLIPRANE, OTHER = "3400937318044", "3400938615470"
NEWEST = UUID(int=(1 << 128) - 1)
On = Callable[[Callable[[AsyncEngine], Awaitable[Any]]], Any]


@pytest.fixture
def on(settings: Settings) -> On:
    def run(work: Callable[[AsyncEngine], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            engine = connect(settings.need("database_url"), pool=8)
            try:
                return await work(engine)
            finally:
                await engine.dispose()

        return asyncio.run(main())

    return run


def body(*products: str) -> bytes:
    lines = [{"product": each, "quantity": 1} for each in products]
    return json.dumps({"pharmacy": "P1", "reference": uuid4().hex, "lines": lines}).encode()


async def accept(engine: AsyncEngine, count: int, *products: str) -> list[UUID]:
    intake = Intake(engine, "erp")
    sent = [parse(body(*products)) for _ in range(count)]
    return [one.id for one in await asyncio.gather(*(intake.accept(each, "t") for each in sent))]


async def fill(engine: AsyncEngine, filling: Filling) -> None:
    """Until nothing is left of what was there when it was called."""
    while (step := await filling.step(engine)) is None or step.more:
        pass


async def known(engine: AsyncEngine, product: str = DOLIPRANE) -> set[UUID]:
    async with engine.connect() as connection:
        return set(await holding(connection, product, NEWEST, 100_000))


def test_an_old_journal_is_filled_in_batches_and_each_product_once(on: On) -> None:
    async def work(engine: AsyncEngine) -> None:
        old = await accept(engine, 25, DOLIPRANE, OTHER)
        filling, taken = Filling(10), []
        while (step := await filling.step(engine)) is not None and step.more:
            taken.append(step.orders)
        assert [each for each in taken if each] == [10, 10, 5]
        assert await known(engine) == set(old) == await known(engine, OTHER)
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM order_products"))).scalar_one() == 50
            first, second = await holding(connection, DOLIPRANE, NEWEST, 2)
            assert [first, second] == sorted(old, reverse=True)[:2]
            assert await holding(connection, DOLIPRANE, second, 1) == [sorted(old)[-3]]

    on(work)


def test_what_commits_late_is_not_missed_and_the_index_says_how_far_it_is(on: On) -> None:
    async def work(engine: AsyncEngine) -> None:
        filling = Filling()
        await fill(engine, filling)
        async with transactional(engine).connect() as late:
            held = entry(parse(body(DOLIPRANE)), "t", "erp")
            await write(late, [held])  # its transaction is open
            after = await accept(engine, 3, DOLIPRANE)
            began = datetime.now(UTC)
            await fill(engine, filling)
            await fill(engine, filling)
            assert await known(engine) == set(), "nothing from the transaction that still runs on"
            async with engine.connect() as connection:
                upto = await complete_at(connection)
                assert upto is not None and upto < began
            await late.commit()
        await fill(engine, filling)
        assert await known(engine) == {held.id, *after}
        async with engine.connect() as connection:
            upto = await complete_at(connection)
            assert upto is not None and upto > began

    on(work)


def test_it_is_complete_while_orders_come_in_and_two_fill(on: On) -> None:
    async def work(engine: AsyncEngine) -> None:
        done = asyncio.Event()

        async def fills() -> None:
            filling = Filling(50)
            while not done.is_set():
                await filling.step(engine)

        filling = [asyncio.create_task(fills()) for _ in range(2)]
        came = [await accept(engine, 40, DOLIPRANE) for _ in range(20)]
        done.set()
        await asyncio.gather(*filling)
        await fill(engine, Filling(50))
        assert await known(engine) == {each for some in came for each in some}

    on(work)


async def waiting(connection: AsyncConnection) -> list[int]:
    query = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'products_known'::regclass"
    return [row[0] for row in await connection.execute(text(query))]


def test_what_a_death_took_back_is_done_again_and_only_one_fills(on: On) -> None:
    async def work(engine: AsyncEngine) -> None:
        ids = await accept(engine, 5, DOLIPRANE)
        await Filling().step(engine)
        async with transactional(engine).connect() as other:
            await other.execute(text(f"SELECT pg_try_advisory_xact_lock({LOCK})"))
            assert await Filling().step(engine) is None
        filling = Filling(2)
        await filling.step(engine)
        async with transactional(engine).connect() as other:
            await other.execute(text("LOCK TABLE products_known IN SHARE MODE"))  # written last, so the batch is in
            dying = asyncio.create_task(filling.step(engine))
            victims = await auntil(lambda: waiting(other))
            await other.execute(text(f"SELECT pg_terminate_backend({victims[0]})"))
            with pytest.raises(DBAPIError):
                await dying
        assert len(await known(engine)) == 2
        await fill(engine, Filling())
        assert await known(engine) == set(ids)

    on(work)


def test_a_body_that_is_no_order_stops_nothing() -> None:
    for broken in (b"", b"\xff", b"[]", b"{}", b'{"lines":[{}]}', b'{"lines":[{"product":"x"}]}', b'{"lines":3}'):
        assert products_in(broken) == set()


def test_the_thread_fills_unless_it_is_switched_off(on: On, settings: Settings) -> None:
    ids = on(lambda engine: accept(engine, 3, DOLIPRANE))
    off = Indexer(settings.replace(product_search=False))
    off.start()
    assert not off._thread.is_alive()
    indexer = Indexer(settings)
    indexer.start()
    try:
        until(lambda: on(known) == set(ids))
    finally:
        indexer.stop()
    assert not indexer._thread.is_alive()
