"""The first receipt wins while both stores can be asked; what loses its place all the same is a dead letter."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.valkey import Valkey
from config.redis_keys import SPILL_ERA
from orders.access import clients
from orders.errors import Conflict, KeyReused, Malformed
from orders.intake.entries import Accepted
from orders.intake.group_commit import Intake
from orders.intake.routing import always
from orders.intake.spill_watch import TRUST
from orders.intake.store import SpillDown
from orders.journal import connect
from orders.model import Order
from orders.queries import order_pages
from orders.queries import orders as order_queries
from orders.schema.tables.core import deliveries
from orders.states import State
from orders.webhooks import endpoints
from tests.intake import NOWHERE, order
from tests.machines.roles import above
from tests.spilling import KEY, an_intake, drain, records, unspilled, without_journal
from tests.waiting import auntil
from workers.intake.spill_drain import unspill
from workers.intake.spill_store import RedisSpill
from workers.proof.audit import audit
from workers.replay.choice import Choice
from workers.replay.redrive import discard, replay

Look = Callable[[AsyncEngine], Awaitable[Any]]


def on(database_url: str, work: Look) -> Any:
    async def run() -> Any:
        engine = connect(above(database_url))
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())


async def state_of(engine: AsyncEngine, order_id: UUID) -> tuple[Any, ...]:
    life = await order_queries.order(engine, order_id)
    return life["state"], life["reason"], life["rival"]


def test_the_first_receipt_wins_while_the_spill_is_not_empty_and_after(database_url: str, redis_url: str) -> None:
    async def take(intake: Intake, store: RedisSpill) -> None:
        intake.store_switch.lose_journal()
        first = await intake.accept(order("B", 2), "front", key="K")
        assert first.kept == "spill"
        await auntil(lambda: intake.store_switch.journal_up, 10)
        for _ in range(2):  # while it is in the spill, then in the journal
            again = await intake.accept(order("B", 2), "front")
            assert (again.id, again.repeated) == (first.id, True)
            with pytest.raises(Conflict) as conflict:
                await intake.accept(order("B", 3), "front")
            assert conflict.value.first == str(first.id)
            with pytest.raises(KeyReused):
                await intake.accept(order("C"), "front", key="K")
            assert not (await intake.accept(order(os.urandom(8).hex()), "front")).repeated
            await drain(database_url, redis_url)

    async def read(engine: AsyncEngine) -> None:
        assert await order_queries.counts(engine) | {"accepted": 0} == dict.fromkeys(map(str, State), 0)
        assert await order_queries.asides_by_kind(engine) == {}

    without_journal(redis_url, take, journal=database_url)
    on(database_url, read)


def test_a_late_order_is_refused_where_both_stores_say_that_it_is_new(database_url: str, redis_url: str) -> None:
    def late(reference: str) -> Order:
        return order(reference, valid_until="2026-01-05T12:00:00Z")

    async def take(intake: Intake, store: RedisSpill) -> UUID:
        intake.store_switch.lose_journal()
        first = await intake.accept(late("A"), "front")
        assert first.kept == "spill", "nobody can know whether the journal has it"
        await auntil(lambda: intake.store_switch.journal_up, 10)
        assert (await intake.accept(late("A"), "front")).id == first.id
        with pytest.raises(Malformed, match="valid_until: this time has passed"):
            await intake.accept(late("B"), "front")
        return first.id

    async def read(engine: AsyncEngine) -> None:
        assert await state_of(engine, first) == ("accepted", None, None)  # until the dispatcher gives it up
        assert sum((await order_queries.counts(engine)).values()) == 1

    first = without_journal(redis_url, take, journal=database_url)
    unspilled(database_url, redis_url, read)


def test_an_intake_that_lost_the_journal_alone_is_heard_by_the_others(database_url: str, redis_url: str) -> None:
    """Whenever it begins to spill, however often the spill was emptied meanwhile: the moment it has answered."""

    async def run() -> None:
        async with an_intake(NOWHERE, redis_url) as cut, an_intake(database_url, redis_url) as other:
            for number in range(5):
                assert (await other.accept(order(f"BEFORE{number}"), "front")).kept == "journal"
                first = await cut.accept(order(f"X{number}", 1), "front")
                assert first.kept == "spill"
                with pytest.raises(Conflict) as conflict:
                    await other.accept(order(f"X{number}", 2), "front")
                assert conflict.value.first == str(first.id)
                await drain(database_url, redis_url)
                with redis.Redis.from_url(redis_url) as client:
                    client.delete(SPILL_ERA)
                if number % 2:
                    await asyncio.sleep(TRUST)

    asyncio.run(run())


def test_what_the_journal_has_is_the_first_whatever_was_spilled_without_it(database_url: str, redis_url: str) -> None:
    async def run() -> None:
        async with an_intake(NOWHERE, redis_url) as cut, an_intake(database_url, redis_url) as other:
            first = await other.accept(order("B", 1), "front")
            await cut.accept(order("B", 2), "front")
            again = await other.accept(order("B", 1), "front")
            assert (again.id, again.repeated, again.kept) == (first.id, True, "journal")
            with pytest.raises(Conflict) as conflict:
                await other.accept(order("B", 2), "front")
            assert conflict.value.first == str(first.id)

    asyncio.run(run())


class Counting(RedisSpill):
    """How often notes were asked for, which somebody waited for."""

    asked = 0

    async def known(self, names: Sequence[bytes]) -> tuple[bool, list[bytes | None]]:
        self.asked += bool(names)
        return await super().known(names)


def test_in_ordinary_times_no_order_waits_for_the_spill(database_url: str, redis_url: str) -> None:
    async def run() -> None:
        store = Counting(redis_url)
        async with an_intake(database_url, redis_url, store) as intake:
            await intake.accept(order("FIRST"), "front")
            began = store.asked
            for number in range(50):
                await intake.accept(order(f"N{number}"), "front")
            assert store.asked - began <= 3, "a look that came late, on a busy machine"

    asyncio.run(run())


def test_where_the_spill_cannot_be_asked_what_loses_its_place_is_a_dead_letter(
    server: Valkey, database_url: str
) -> None:
    async def spilled(intake: Intake, _: RedisSpill) -> Accepted:
        return await intake.accept(order("B", 2), "front")

    async def run() -> Accepted:
        async with an_intake(database_url, server.url) as intake:
            os.kill(server.pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                taken = await intake.accept(order("B", 3), "front")
                assert time.monotonic() - began < 5
                began = time.monotonic()
                assert (await intake.accept(order("C"), "front")).kept == "journal"
                assert time.monotonic() - began < 1, "one wait is enough"
            finally:
                os.kill(server.pid, signal.SIGCONT)
            return taken

    async def read(engine: AsyncEngine) -> None:
        assert await state_of(engine, loser.id) == ("dead", "conflict", winner.id)
        life = await order_queries.order(engine, loser.id)
        assert life["error"] == f"order {winner.id} has its reference, with other content"
        async with engine.connect() as connection:
            kept = select(deliveries.c.why).where(deliveries.c.order_id == loser.id)
            assert (await connection.execute(kept)).scalar_one().stored() == {
                "code": "has_reference",
                "order": str(winner.id),
            }
        assert life["order"]["lines"][0]["quantity"] == 2
        assert (await order_queries.order_by_reference(engine, "990000002", "B"))["id"] == winner.id
        ledger = await audit(engine)
        assert (ledger.balanced, ledger.accepted, ledger.dead) == (True, 3, 1)
        choice = Choice(State.DEAD, ids=(loser.id,))
        assert await replay(engine, choice, "by mistake") == []
        assert await discard(engine, choice, "the pharmacy wants the other") == [loser.id]

    loser = without_journal(server.url, spilled)
    winner = asyncio.run(run())
    unspilled(database_url, server.url, read)


def test_a_dead_letter_of_a_conflict_is_told_and_never_put_through_behind_the_back(
    database_url: str, redis_url: str
) -> None:
    async def before(engine: AsyncEngine) -> None:
        await clients.add(engine, "front")
        await endpoints.add(engine, "front", "http://127.0.0.1:9/hook")

    async def journalled(intake: Intake, _: RedisSpill) -> list[Accepted]:
        return [await intake.accept(order("B", 1), "front"), await intake.accept(order("K", 1), "front", key="K")]

    async def spilled(intake: Intake, _: RedisSpill) -> list[Accepted]:
        return [await intake.accept(order("B", 2), "front"), await intake.accept(order("L", 1), "front", key="K")]

    async def read(engine: AsyncEngine) -> None:
        for loser, winner in zip(losers, winners, strict=True):
            assert await state_of(engine, loser.id) == ("dead", "conflict", winner.id)
        told = {each.id for each in losers}
        async with engine.connect() as connection:
            events = (await connection.execute(text("SELECT order_id, state, reason FROM events"))).all()
            notices = (await connection.execute(text("SELECT order_id, client FROM notices"))).all()
            assert {tuple(row) for row in events} == {(order_id, "dead", "conflict") for order_id in told}
            assert {tuple(row) for row in notices} == {(order_id, "front") for order_id in told}
            with pytest.raises(Exception, match="may not go from dead to accepted"):
                await connection.execute(text("UPDATE deliveries SET state = 'accepted' WHERE state = 'dead'"))

    on(database_url, before)
    winners = without_journal(redis_url, journalled, journal=database_url)
    losers = without_journal(redis_url, spilled)
    unspilled(database_url, redis_url, read)


class Dying(RedisSpill):
    """Dies after the journal has the records and before they are dropped."""

    async def drop(
        self, records: Sequence[bytes], ids: Sequence[bytes], names: Sequence[bytes], aside: Sequence[int] = ()
    ) -> bool:
        raise SpillDown("killed here")


def test_a_drain_that_dies_in_the_middle_makes_one_dead_letter(database_url: str, redis_url: str) -> None:
    async def journalled(intake: Intake, _: RedisSpill) -> Accepted:
        return await intake.accept(order("B", 1), "front")

    async def spilled(intake: Intake, _: RedisSpill) -> Accepted:
        return await intake.accept(order("B", 2), "front")

    async def die(engine: AsyncEngine) -> None:
        store = Dying(redis_url)
        async with engine.connect() as connection:
            with pytest.raises(SpillDown):
                await unspill(connection, store, KEY, always("erp"))
        await store.close()

    async def read(engine: AsyncEngine) -> None:
        assert await state_of(engine, loser.id) == ("dead", "conflict", winner.id)
        assert len(await order_pages.page(engine)) == 2
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM events"))).scalar_one() == 1

    winner = without_journal(redis_url, journalled, journal=database_url)
    loser = without_journal(redis_url, spilled)
    on(database_url, die)
    assert len(records(redis_url)) == 1
    unspilled(database_url, redis_url, read)


@pytest.mark.parametrize("kind", ["unreadable", "conflict", "repeated"])
def test_the_books_do_not_balance_while_a_receipt_of_the_spill_is_nowhere(database_url: str, kind: str) -> None:
    async def work(engine: AsyncEngine) -> tuple[bool, bool, list[str]]:
        put = text(
            "INSERT INTO asides (digest, kind, told, order_id, why, raw) "
            "VALUES ('d', :kind, gen_random_uuid(), gen_random_uuid(), '\"w\"', 'r')"
        )
        before = (await audit(engine)).balanced
        async with engine.connect() as connection:
            await connection.execute(put, {"kind": kind})
        ledger = await audit(engine)
        return before, ledger.balanced, list(ledger.faults)

    assert on(database_url, work) == (True, False, ["1 receipt of the spill that is no order"])
