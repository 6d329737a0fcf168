"""The spill: orders taken while PostgreSQL is away are on Redis' disk, signed, and journalled in order, once."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis
import uvloop
from pydantic import SecretStr, ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.leash import Leash
from config.embedded.valkey import Valkey
from config.redis_keys import SPILL_NOTES, SPILL_RECORDS
from config.settings import Settings
from orders.errors import Conflict, JournalDown, KeyReused, NotFound
from orders.intake.entries import Accepted
from orders.intake.group_commit import Intake
from orders.intake.routing import always
from orders.intake.spill import SpillSigner
from orders.intake.store import SpillDown
from orders.intake.store_switch import Mode
from orders.journal import connect
from orders.queries import order_pages
from orders.queries import orders as order_queries
from tests.intake import NOWHERE, order
from tests.spilling import KEY, records, unspilled, without_journal
from tests.waiting import auntil
from workers.intake.spill_drain import readmit, unspill
from workers.intake.spill_store import RedisSpill

OTHER = SpillSigner.of(SecretStr("another key, of nobody"))


def test_orders_taken_without_a_journal_are_journalled_later_in_their_order_with_their_ids(
    database_url: str, redis_url: str
) -> None:
    async def take(intake: Intake, _: RedisSpill) -> list[Accepted]:
        assert intake.store_switch.mode is Mode.JOURNAL
        taken = [
            await intake.accept(order(f"S{n}", note="for Mme É."), "front", request_id=f"r{n}") for n in range(250)
        ]
        assert intake.store_switch.mode is Mode.SPILL
        return taken

    async def read(engine: AsyncEngine) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        rows = await order_pages.page(engine, limit=500)
        return rows, await order_queries.order(engine, rows[7].id)

    began = time.time()
    taken = without_journal(redis_url, take)
    assert {each.kept for each in taken} == {"spill"}
    rows, seventh = unspilled(database_url, redis_url, read)
    assert [row.id for row in rows] == [each.id for each in taken]
    assert [json.loads(row.summary)["reference"] for row in rows] == [f"S{n}" for n in range(250)]
    assert (seventh["request_id"], seventh["order"]["note"]) == ("r7", "for Mme É.")
    assert began <= seventh["received_at"].timestamp() <= time.time()
    assert records(redis_url) == []
    with redis.Redis.from_url(redis_url) as client:
        assert client.hlen(SPILL_NOTES) == 0


def test_the_same_order_again_other_content_and_a_reused_key_are_known_in_the_spill_too(redis_url: str) -> None:
    async def take(intake: Intake, _: RedisSpill) -> None:
        first = await intake.accept(order("A1"), "front", key="K1")
        again = await intake.accept(order("A1"), "front", key="K1")
        assert (again.id, again.repeated, again.kept) == (first.id, True, "spill")
        with pytest.raises(Conflict) as conflict:
            await intake.accept(order("A1", quantity=2), "front")
        assert conflict.value.first == str(first.id)
        with pytest.raises(KeyReused):
            await intake.accept(order("A2"), "front", key="K1")
        assert not (await intake.accept(order("A2"), "another", key="K1")).repeated

    without_journal(redis_url, take)
    assert len(records(redis_url)) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("appendfsync", "everysec"),
        ("appendfsync", "no"),
        ("appendonly", "no"),
        ("no-appendfsync-on-rewrite", "yes"),
    ],
)
def test_a_redis_that_answers_before_its_disk_has_it_is_no_spill(server: Valkey, name: str, value: str) -> None:
    async def take(intake: Intake, store: RedisSpill) -> None:
        assert (await intake.accept(order("GOOD"), "front")).kept == "spill"
        with redis.Redis.from_url(server.url) as client:
            client.config_set(name, value)
            with pytest.raises(JournalDown):
                await intake.accept(order("WORSE"), "front")
            client.config_set(name, {"appendfsync": "always", "appendonly": "yes"}.get(name, "no"))
        await auntil(lambda: intake.store_switch.mode is Mode.SPILL)
        assert (await intake.accept(order("GOOD AGAIN"), "front")).kept == "spill"

    without_journal(server.url, take)


def test_a_redis_that_evicts_is_no_spill(server: Valkey) -> None:
    async def take(intake: Intake, store: RedisSpill) -> None:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", "64mb")
            client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(JournalDown):
            await intake.accept(order("EVICTED"), "front")

    without_journal(server.url, take)
    assert records(server.url) == []


def test_a_full_redis_refuses_and_keeps_what_it_has(server: Valkey) -> None:
    async def take(intake: Intake, store: RedisSpill) -> None:
        await intake.accept(order("BEFORE"), "front")
        with redis.Redis.from_url(server.url) as client:
            client.config_set("maxmemory", "1mb")
        with pytest.raises(JournalDown):
            await intake.accept(order("TOO MUCH"), "front")

    without_journal(server.url, take)
    assert len(records(server.url)) == 1


def test_what_is_on_disk_survives_the_server(server: Valkey, leash: Leash, database_url: str) -> None:
    async def take(intake: Intake, store: RedisSpill) -> list[Accepted]:
        return list(await asyncio.gather(*(intake.accept(order(f"D{n}"), "front") for n in range(100))))

    async def ids(engine: AsyncEngine) -> list[Any]:
        return [row.id for row in await order_pages.page(engine, limit=500)]

    taken = without_journal(server.url, take)
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    server.start(leash)
    assert sorted(unspilled(database_url, server.url, ids)) == sorted(each.id for each in taken)


def closed(server: Valkey, store: RedisSpill) -> None:
    """The server ended the connection while nobody used it."""
    with redis.Redis.from_url(server.url) as client:
        client.client_kill_filter(_type="normal", skipme=True)


def closing(server: Valkey, store: RedisSpill) -> None:
    """The connection is closed on this side, which nobody has noticed yet."""
    for each in store._redis.connection_pool._available_connections:
        if each._writer is not None:
            each._writer.transport.close()


@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("die", [closed, closing])
def test_a_connection_that_died_meanwhile_is_replaced_and_costs_no_order(
    server: Valkey, die: Callable[[Valkey, RedisSpill], None], loop: Callable[..., Any]
) -> None:
    async def run() -> None:
        engine, store = connect(NOWHERE, timeout=2), RedisSpill(server.url)
        intake = Intake(engine, "erp", spill=(store, KEY))
        assert (await intake.accept(order("FIRST"), "front")).kept == "spill"
        for n in range(5):
            die(server, store)
            taken = await asyncio.gather(*(intake.accept(order(f"N{n}.{k}"), "front") for k in range(3)))
            assert [(each.kept, each.repeated) for each in taken] == [("spill", False)] * 3
        await intake.close()
        await engine.dispose()

    loop(run())
    assert len(records(server.url)) == 16


def test_both_away_is_said_at_once(server: Valkey) -> None:
    async def take(intake: Intake, store: RedisSpill) -> None:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(JournalDown):
                await intake.accept(order("FIRST"), "front")
            assert intake.store_switch.mode is Mode.REFUSING
            answers = await asyncio.gather(
                *(intake.accept(order(f"N{n}"), "front") for n in range(50)), return_exceptions=True
            )
            assert all(isinstance(answer, JournalDown) for answer in answers)
            assert await intake.store_switch.look() is Mode.REFUSING
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await auntil(lambda: intake.store_switch.mode is Mode.SPILL)
        await auntil(lambda: look(intake, Mode.SPILL), 10)

    async def look(intake: Intake, mode: Mode) -> bool:
        return await intake.store_switch.look() is mode

    without_journal(server.url, take)


def test_a_journal_that_is_back_is_used_again(database_url: str, redis_url: str) -> None:
    async def take(intake: Intake, _: RedisSpill) -> None:
        intake.store_switch.lose_journal()
        assert (await intake.accept(order("AWAY"), "front")).kept == "spill"
        await auntil(lambda: intake.store_switch.mode is Mode.JOURNAL, 10)
        assert (await intake.accept(order("BACK"), "front")).kept == "journal"

    without_journal(redis_url, take, journal=database_url)


def test_a_record_that_nobody_of_ours_signed_is_kept_aside_and_never_journalled(
    database_url: str, redis_url: str
) -> None:
    async def take(intake: Intake, _: RedisSpill) -> Accepted:
        return await intake.accept(order("TRUE"), "front")

    async def read(engine: AsyncEngine) -> tuple[list[str], list[dict[str, Any]], dict[str, int]]:
        rows = await order_pages.page(engine)
        return (
            [json.loads(row.summary)["reference"] for row in rows],
            await order_queries.asides(engine, 10),
            await order_queries.asides_by_kind(engine),
        )

    without_journal(redis_url, take)
    (good,) = records(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        client.lpush(
            SPILL_RECORDS, good.replace(b'"quantity":1', b'"quantity":9').replace(b'quantity\\":1', b'quantity\\":9')
        )
        client.rpush(SPILL_RECORDS, b"", b"garbage", b"\xff" * 3_000_000, good)
        client.rpush(SPILL_RECORDS, b"1." + KEY.sign(b"spill", b"[]") + b".[]")
    references, asides, kinds = unspilled(database_url, redis_url, read)
    assert references == ["TRUE"]
    assert kinds == {"forged": 4, "unreadable": 1}
    assert max(aside["size"] for aside in asides) < 3_000_000
    assert records(redis_url) == []


def test_a_forged_note_turns_no_order_away(redis_url: str) -> None:
    async def take(intake: Intake, _: RedisSpill) -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.hset(SPILL_NOTES, b"r\x1f990000002\x1fWANTED", b"01a1b2c3-d4e5-7f60-8a9b-0c1d2e3f4a5b|00|00")
            client.hset(SPILL_NOTES, b"k\x1ffront\x1fK", b"garbage")
        assert not (await intake.accept(order("WANTED"), "front")).repeated
        assert not (await intake.accept(order("KEYED"), "front", key="K")).repeated
        assert (await intake.accept(order("KEYED"), "front", key="K")).repeated

    without_journal(redis_url, take)
    assert len(records(redis_url)) == 2


def test_a_spilled_order_that_had_been_accepted_before_is_found_by_both_ids(database_url: str, redis_url: str) -> None:
    async def before(intake: Intake, _: RedisSpill) -> list[Accepted]:
        return [await intake.accept(order("ONCE"), "front"), await intake.accept(order("TWO"), "front")]

    async def away(intake: Intake, _: RedisSpill) -> list[Accepted]:
        return [await intake.accept(order("ONCE"), "front"), await intake.accept(order("TWO", quantity=2), "front")]

    async def read(engine: AsyncEngine) -> None:
        assert (await order_queries.order(engine, again.id))["id"] == first.id
        assert (await order_queries.order(engine, other.id))["rival"] == second.id
        assert len(await order_pages.page(engine)) == 3
        assert await order_queries.asides_by_kind(engine) == {"repeated": 1}
        with pytest.raises(NotFound):
            await order_queries.order(engine, type(first.id)(int=1))

    first, second = without_journal(redis_url, before, journal=database_url)
    again, other = without_journal(redis_url, away)
    unspilled(database_url, redis_url, read)


class Dying(RedisSpill):
    """Dies after the journal has the records and before they are dropped."""

    async def drop(
        self, records: Sequence[bytes], ids: Sequence[bytes], names: Sequence[bytes], aside: Sequence[int] = ()
    ) -> bool:
        raise SpillDown("killed here")


def test_dying_between_the_journal_and_the_spill_journals_nothing_twice(database_url: str, redis_url: str) -> None:
    async def take(intake: Intake, _: RedisSpill) -> list[Accepted]:
        return [await intake.accept(order(f"X{n}"), "front") for n in range(30)]

    async def die() -> None:
        engine, store = connect(database_url), Dying(redis_url)
        async with engine.connect() as connection:
            with pytest.raises(SpillDown):
                await unspill(connection, store, KEY, always("erp"))
        await store.close()
        await engine.dispose()

    async def read(engine: AsyncEngine) -> tuple[list[Any], dict[str, int]]:
        return [row.id for row in await order_pages.page(engine)], await order_queries.asides_by_kind(engine)

    taken = without_journal(redis_url, take)
    asyncio.run(die())
    assert len(records(redis_url)) == 30
    ids, asides = unspilled(database_url, redis_url, read)
    assert (ids, asides) == ([each.id for each in taken], {})


def test_a_leader_that_wakes_up_late_drops_nobody_elses_records(redis_url: str) -> None:
    async def take(intake: Intake, store: RedisSpill) -> None:
        await intake.accept(order("OLD1"), "front")
        await intake.accept(order("OLD2"), "front")
        late = await store.head(100)
        assert await store.drop(late, [], [])
        await intake.accept(order("NEW1"), "front")
        await intake.accept(order("NEW2"), "front")
        assert not await store.drop(late, [], [])
        assert len(await store.head(100)) == 2

    without_journal(redis_url, take)


def test_orders_set_aside_for_a_wrong_key_are_readmitted_with_the_right_one(database_url: str, redis_url: str) -> None:
    async def take(intake: Intake, _: RedisSpill) -> Accepted:
        return await intake.accept(order("MISKEYED"), "front")

    async def read(engine: AsyncEngine) -> tuple[int, int, list[Any]]:
        assert await order_pages.page(engine) == []
        async with engine.connect() as connection:
            once = await readmit(connection, KEY, always("erp"))
            again = await readmit(connection, KEY, always("erp"))
            await connection.execute(text("SELECT 1"))
        return once, again, [row.id for row in await order_pages.page(engine)]

    taken = without_journal(redis_url, take)
    assert unspilled(database_url, redis_url, read, key=OTHER) == (1, 1, [taken.id])


def test_a_key_that_was_renewed_still_reads_what_the_old_one_signed(database_url: str, redis_url: str) -> None:
    async def take(intake: Intake, _: RedisSpill) -> Accepted:
        return await intake.accept(order("OLD KEY"), "front")

    async def read(engine: AsyncEngine) -> list[str]:
        return [json.loads(row.summary)["reference"] for row in await order_pages.page(engine)]

    without_journal(redis_url, take)
    both = SpillSigner.of(SecretStr("a new key, of this year,a key that is shared"))
    assert unspilled(database_url, redis_url, read, key=both) == ["OLD KEY"]


def test_without_a_key_there_is_no_spill() -> None:
    async def run() -> None:
        engine = connect(NOWHERE)
        intake = Intake(engine, "erp")
        with pytest.raises(JournalDown):
            await intake.accept(order("A1"), "front")
        assert intake.store_switch.mode is Mode.REFUSING
        await intake.close()
        await engine.dispose()

    asyncio.run(run())


@pytest.mark.parametrize("key", ["", "short", "long enough, this one,short"])
def test_a_key_that_could_be_guessed_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="16 characters"):
        Settings(spill_key=SecretStr(key), _env_file=None)
