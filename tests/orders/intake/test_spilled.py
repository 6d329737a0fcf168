"""An order in the spill is found and taken back; the drain journals it as taken back."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.redis_keys import SPILL_NOTES, SPILL_RECORDS
from orders.api.spilled_orders import cancelled_in_spill
from orders.errors import JournalDown
from orders.intake import group_commit
from orders.intake.cancel import cancel
from orders.intake.entries import Accepted, Entry, write
from orders.intake.group_commit import Intake
from orders.intake.routing import always
from orders.intake.spilled import Cancellation, cancel_spilled, find, find_by_reference
from orders.intake.store import Cancelling
from orders.journal import connect
from orders.queries import orders as order_queries
from tests.intake import order
from tests.machines.roles import above
from tests.spilling import KEY, drain, unspilled, without_journal
from workers.intake.spill_store import RedisSpill
from workers.proof.audit import audit

BY = Cancellation("front", "r7")
ROUTE = always("erp")


async def forward(database_url: str, accepted: Accepted) -> None:
    """A worker has begun to deliver it."""
    engine = connect(above(database_url))
    async with engine.connect() as connection:
        for state in ("dispatched", "delivering"):
            change = text(f"UPDATE deliveries SET state = '{state}' WHERE order_id = :id")
            await connection.execute(change, {"id": accepted.id})
    await engine.dispose()


def test_it_is_found_by_its_id_and_by_its_reference_wherever_it_stands(database_url: str, redis_url: str) -> None:
    async def take(intake: Intake, store: RedisSpill) -> None:
        taken = [await intake.accept(order(f"S{n}"), "front") for n in range(130)]
        for number in (0, 64, 129):
            found = await find(store, KEY, ROUTE, taken[number].id)
            again = await find_by_reference(store, KEY, ROUTE, "990000002", f"S{number}")
            assert found is not None and again == found
            assert (found.entry.id, found.entry.reference) == (taken[number].id, f"S{number}")
        assert await store.drop(await store.head(1), [str(taken[0].id).encode()], [])
        assert await find(store, KEY, ROUTE, taken[0].id) is None
        last = await find(store, KEY, ROUTE, taken[129].id)
        assert last is not None and last.entry.reference == "S129"
        assert await find(store, KEY, ROUTE, uuid4()) is None
        assert await find_by_reference(store, KEY, ROUTE, "990000002", "NONE") is None

    without_journal(redis_url, take)


def test_what_was_taken_back_is_journalled_as_that_with_who_did_it(database_url: str, redis_url: str) -> None:
    async def take(intake: Intake, store: RedisSpill) -> list[Accepted]:
        taken = [await intake.accept(order(f"S{n}"), "front", key=f"K{n}") for n in range(3)]
        for _ in range(2):
            assert await cancel_spilled(store, KEY, ROUTE, taken[1].id, BY) is Cancelling.DONE
        found = await find(store, KEY, ROUTE, taken[1].id)
        assert found is not None and found.cancellation == BY
        assert (await intake.accept(order("S1"), "front")).id == taken[1].id
        return taken

    async def read(engine: AsyncEngine) -> None:
        states = [(await order_queries.order(engine, each.id))["state"] for each in taken]
        assert states == ["accepted", "cancelled", "accepted"]
        async with engine.connect() as connection:
            (act,) = await connection.execute(text("SELECT operator, act, detail FROM operations"))
            events = (await connection.execute(text("SELECT order_id, state FROM events"))).all()
        assert tuple(act) == ("client front", "order cancel", {"order": str(taken[1].id), "request": "r7"})
        assert [tuple(row) for row in events] == [(taken[1].id, "cancelled")]
        ledger = await audit(engine)
        assert (ledger.balanced, ledger.cancelled) == (True, 1)

    taken = without_journal(redis_url, take)
    unspilled(database_url, redis_url, read)


def test_what_is_being_journalled_cannot_be_taken_back_in_the_spill(redis_url: str) -> None:
    async def take(intake: Intake, store: RedisSpill) -> None:
        taken = [await intake.accept(order(f"S{n}"), "front") for n in range(3)]
        head = await store.head(2)
        said = [await cancel_spilled(store, KEY, ROUTE, each.id, BY) for each in taken]
        assert said == [Cancelling.TAKEN, Cancelling.TAKEN, Cancelling.DONE]
        await store.drop(head, [str(each.id).encode() for each in taken[:2]], [])
        said = [await cancel_spilled(store, KEY, ROUTE, each.id, BY) for each in taken]
        assert said == [Cancelling.ABSENT, Cancelling.ABSENT, Cancelling.DONE]

    without_journal(redis_url, take)


@pytest.mark.parametrize("at_the_second_try", [False, True])
def test_what_the_journal_may_have_as_well_is_not_taken_back_in_the_spill(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, at_the_second_try: bool
) -> None:
    tried: list[int] = []

    async def cut(connection: AsyncConnection, group: Sequence[Entry]) -> Any:
        tried.append(len(group))
        if not at_the_second_try or len(tried) == 2:
            await write(connection, group)
        raise ConnectionResetError("its answer is lost")

    async def take(intake: Intake, store: RedisSpill) -> list[Accepted]:
        with monkeypatch.context() as patched:
            patched.setattr(group_commit, "write", cut)
            doubted = await intake.accept(order("A"), "front")
        intake.store_switch.lose_journal()
        sure = await intake.accept(order("B"), "front")
        assert [each.kept for each in (doubted, sure)] == ["spill", "spill"]
        said = [await cancel_spilled(store, KEY, ROUTE, each.id, BY) for each in (doubted, sure)]
        assert said == [Cancelling.TAKEN, Cancelling.DONE]
        api: Any = SimpleNamespace(intake=intake)
        with pytest.raises(JournalDown, match=r"^the order may be in the journal already: ask again$"):
            await cancelled_in_spill(api, doubted.id, "front", "r8")
        return [doubted, sure]

    async def read(engine: AsyncEngine) -> None:
        states = [(await order_queries.order(engine, each.id))["state"] for each in taken]
        assert states == ["accepted", "cancelled"]
        await cancel(engine, taken[0].id, "front", "r8")
        assert (await order_queries.order(engine, taken[0].id))["state"] == "cancelled"

    taken = without_journal(redis_url, take, journal=database_url)
    assert tried == [1, 1]
    unspilled(database_url, redis_url, read)


@pytest.mark.parametrize("refusal", ["connect", "statement"])
def test_what_the_journal_surely_has_not_is_taken_back_in_the_spill_at_once(
    database_url: str, redis_url: str, refusal: str
) -> None:
    async def take(intake: Intake, store: RedisSpill) -> None:
        taken = await intake.accept(order("A"), "front")
        assert taken.kept == "spill"
        assert await cancel_spilled(store, KEY, ROUTE, taken.id, BY) is Cancelling.DONE

    async def refuse() -> None:
        engine = connect(above(database_url))
        async with engine.connect() as connection:
            await connection.execute(text("ALTER TABLE deliveries RENAME TO gone"))
        await engine.dispose()

    if refusal == "statement":
        asyncio.run(refuse())
        without_journal(redis_url, take, journal=database_url)
    else:
        without_journal(redis_url, take)


def test_a_mark_on_what_the_journal_has_under_the_same_id_takes_it_back_there(
    database_url: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As where a primary of Redis dies with what only it knew: which records had been handed out to be journalled."""

    async def take(intake: Intake, store: RedisSpill) -> list[Accepted]:
        taken = [await intake.accept(order(reference), "front") for reference in ("A", "B")]
        raws = await store.head(2)
        await drain(database_url, redis_url)
        with redis.Redis.from_url(redis_url) as client:
            client.rpush(SPILL_RECORDS, *raws)
            client.hset(SPILL_NOTES, mapping={f"i\x1f{each.id}": n for n, each in enumerate(taken)})
        for each in taken:
            assert await cancel_spilled(store, KEY, ROUTE, each.id, BY) is Cancelling.DONE
        return taken

    async def read(engine: AsyncEngine) -> list[str]:
        return [(await order_queries.order(engine, each.id))["state"] for each in taken]

    taken = without_journal(redis_url, take)
    asyncio.run(forward(database_url, taken[1]))
    assert unspilled(database_url, redis_url, read) == ["cancelled", "delivering"]
    told = [each for each in caplog.records if each.message == "an order was taken back too late"]
    assert [each.order for each in told] == [taken[1].id]


def test_a_mark_that_nobody_of_ours_signed_takes_nothing_back(database_url: str, redis_url: str) -> None:
    async def take(intake: Intake, store: RedisSpill) -> Accepted:
        taken, other = [await intake.accept(order(reference), "front") for reference in ("A", "B")]
        await cancel_spilled(store, KEY, ROUTE, other.id, BY)
        with redis.Redis.from_url(redis_url) as client:
            mark = client.hget(SPILL_NOTES, f"c\x1f{other.id}")
            client.hset(SPILL_NOTES, f"c\x1f{taken.id}", mark)
        found = await find(store, KEY, ROUTE, taken.id)
        assert found is not None and found.cancellation is None
        return taken

    async def read(engine: AsyncEngine) -> Any:
        return (await order_queries.order(engine, taken.id))["state"]

    taken = without_journal(redis_url, take)
    assert unspilled(database_url, redis_url, read) == "accepted"


@pytest.mark.parametrize("forwarded", [False, True])
def test_taking_back_takes_back_the_same_order_that_had_been_accepted_before_or_tells_a_person(
    database_url: str, redis_url: str, forwarded: bool
) -> None:
    async def before(intake: Intake, _: RedisSpill) -> Accepted:
        return await intake.accept(order("B"), "front")

    async def away(intake: Intake, store: RedisSpill) -> Accepted:
        taken = await intake.accept(order("B"), "front")
        assert await cancel_spilled(store, KEY, ROUTE, taken.id, BY) is Cancelling.DONE
        return taken

    async def read(engine: AsyncEngine) -> tuple[Any, ...]:
        lives = [await order_queries.order(engine, each.id) for each in (first, again)]
        return tuple((life["state"], life["error"], life["rival"]) for life in lives)

    first = without_journal(redis_url, before, journal=database_url)
    again = without_journal(redis_url, away)
    if forwarded:
        asyncio.run(forward(database_url, first))
        error = f"it was taken back too late: the same order is delivering as order {first.id}"
        expected = (("delivering", None, None), ("dead", error, first.id))
    else:
        expected = (("cancelled", None, None), ("cancelled", None, first.id))
    assert unspilled(database_url, redis_url, read) == expected
    assert asyncio.run(drain(database_url, redis_url)) == 0
