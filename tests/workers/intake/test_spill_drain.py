"""The leader journals the spill before it dispatches anything, and lets nothing past its valid_until be forwarded."""

import asyncio
from functools import partial
from uuid import UUID

import pytest
import redis
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from config.redis_keys import SPILL_ASIDE, SPILL_RECORDS
from config.settings import Settings
from orders.intake.group_commit import Intake
from orders.intake.spill import SpillSigner
from orders.journal import connect
from tests.cli import CommandLine, environment
from tests.dispatching import accept, depth, dispatching, on_journal
from tests.intake import NOWHERE, ORDER, order
from tests.machines.roles import above
from tests.waiting import until
from workers.dispatch import maintenance
from workers.intake import spill_drain
from workers.intake.spill_store import RedisSpill

SECRET = SecretStr("a key that is shared")
OTHER = SecretStr("another key of the intake")


@pytest.fixture
def shared(settings: Settings) -> Settings:
    return settings.replace(spill_key=SECRET)


def spill(settings: Settings, *references: str) -> list[UUID]:
    async def run() -> list[UUID]:
        engine = connect(NOWHERE)
        store, key = RedisSpill(settings.need("redis_url")), settings.queue.spill_key or SECRET
        intake = Intake(engine, settings.erp.backend, spill=(store, SpillSigner.of(key)))
        ids = [(await intake.accept(order(reference), "t")).id for reference in references]
        await intake.close()
        await engine.dispose()
        return ids

    return asyncio.run(run())


def test_what_was_spilled_is_journalled_and_dispatched_with_what_came_later_behind_it(shared: Settings) -> None:
    spilled = spill(shared, *(f"S{number}" for number in range(120)))
    accept(shared, 50, pharmacy=ORDER["pharmacy"])  # of the same one: pharmacies take turns
    with dispatching(shared):
        until(lambda: depth(shared.need("redis_url"), SPILL_RECORDS) == 0, what="the spill is empty")
        query = "SELECT count(*) FROM deliveries WHERE state = 'dispatched'"
        until(lambda: on_journal(shared, query)[0][0] > 0, what="orders are dispatched")
    first = on_journal(shared, "SELECT order_id FROM deliveries WHERE state = 'dispatched' ORDER BY order_id")
    assert [row[0] for row in first][: len(spilled)] == spilled[: len(first)], "the oldest go first: the spilled ones"
    assert on_journal(shared, "SELECT count(*) FROM orders")[0][0] == 170


def test_dispatch_goes_on_while_the_spill_is_flooded(shared: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "UNSPILL", 0.0)  # a group in each round
    with redis.Redis.from_url(shared.need("redis_url")) as client:
        client.rpush(SPILL_RECORDS, *(f"forged {number}" for number in range(10_000)))
    accept(shared, 5)
    with dispatching(shared):
        query = "SELECT count(*) FROM deliveries WHERE state = 'dispatched'"
        until(lambda: on_journal(shared, query)[0][0] == 5, what="orders are dispatched")
        assert depth(shared.need("redis_url"), SPILL_RECORDS) > 0
        until(lambda: depth(shared.need("redis_url"), SPILL_RECORDS) < 8_000, what="and the spill is drained beside it")


def test_forged_records_beyond_a_bound_stay_in_redis_and_are_orders_once_the_key_is_there(
    shared: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(spill_drain, "MOST_FORGED", 4)
    url, kinds = shared.need("redis_url"), "SELECT kind, count(*), sum(length(raw)) FROM asides GROUP BY kind"
    other = shared.replace(spill_key=OTHER)
    with redis.Redis.from_url(url) as client:
        client.rpush(SPILL_RECORDS, "x" * 5000)
    spill(other, *(f"O{number}" for number in range(8)))
    spill(shared, "S")
    with dispatching(shared):
        until(lambda: depth(url, SPILL_RECORDS) == 0, what="the spill is empty")
    ((kind, count, size),) = map(tuple, on_journal(shared, kinds))
    assert (kind, count, depth(url, SPILL_ASIDE)) == ("forged", 4, 5)
    assert size < 1024 + 3 * 1000, "of what cannot be ours only the beginning"
    assert [tuple(row) for row in on_journal(shared, "SELECT reference FROM orders")] == [("S",)]
    both = shared.replace(
        spill_key=SecretStr(f"{other.queue.spill_key.get_secret_value()},{SECRET.get_secret_value()}")
    )
    with dispatching(both):
        until(
            lambda: on_journal(both, "SELECT count(*) FROM orders")[0][0] == 6,
            what="what stayed in Redis is journalled",
        )
    assert (depth(url, SPILL_RECORDS), depth(url, SPILL_ASIDE)) == (0, 0)
    relais = partial(CommandLine(capsys, environment(both)), "admin", "spill")
    assert "3 records that were set aside are orders now" in " ".join(
        relais("readmit", "--because", "the key was mended").out.split()
    )
    assert on_journal(both, "SELECT count(*) FROM orders")[0][0] == 9
    assert "4 forged records dropped" in relais("drop", "--because", "reported", "--yes").out
    assert [tuple(row) for row in on_journal(both, kinds)] == []
    with pytest.raises(DBAPIError, match="append-only"):
        on_journal(both, "INSERT INTO asides (digest, kind, why, raw) VALUES ('d', 'repeated', '\"w\"', 'r')")
        on_journal(both, "DELETE FROM asides")


def test_a_worker_without_the_key_leaves_the_spill_alone_and_goes_on(settings: Settings) -> None:
    spill(settings, "S1", "S2")
    accept(settings, 5)
    with dispatching(settings):
        query = "SELECT count(*) FROM deliveries WHERE state = 'dispatched'"
        until(lambda: on_journal(settings, query)[0][0] == 5, what="the others are dispatched")
    assert depth(settings.need("redis_url"), SPILL_RECORDS) == 2


def test_whatever_stands_in_the_place_of_the_spill_does_not_stop_the_dispatcher(shared: Settings) -> None:
    with redis.Redis.from_url(shared.need("redis_url")) as client:
        client.set(SPILL_RECORDS, "no list")
    accept(shared, 5)
    with dispatching(shared):
        query = "SELECT count(*) FROM deliveries WHERE state = 'dispatched'"
        until(lambda: on_journal(shared, query)[0][0] == 5, what="orders are dispatched")


def test_an_order_past_its_time_is_dead_without_ever_being_dispatched(settings: Settings) -> None:
    accept(settings, 3, valid_until="2026-01-01T00:00:00Z")
    accept(settings, 2, valid_until="2999-01-01T00:00:00Z")
    accept(settings, 1)
    on_journal(
        settings,
        "UPDATE deliveries SET unsure = true WHERE order_id = (SELECT order_id FROM deliveries ORDER BY 1 LIMIT 1)",
    )
    with dispatching(settings):
        query = "SELECT state, reason, count(*) FROM deliveries GROUP BY 1, 2 ORDER BY 1"
        wanted = [("dead", "expired", 2), ("dispatched", None, 4)]
        until(lambda: [tuple(row) for row in on_journal(settings, query)] == wanted, what="the two are dead")
    told = on_journal(settings, "SELECT state, reason, error FROM events")
    assert {tuple(row)[:2] for row in told} == {("dead", "expired")}


def test_an_expired_order_waits_for_no_worker_and_no_circuit(settings: Settings) -> None:
    accept(settings, 2, valid_until="2026-01-01T00:00:00Z")

    async def open_circuit() -> None:
        engine = connect(above(settings.need("database_url")))
        async with engine.connect() as connection:
            await connection.execute(
                text("INSERT INTO backends (name, \"window\", circuit, paused) VALUES ('erp', 50, 'open', true)")
            )
        await engine.dispose()

    asyncio.run(open_circuit())
    with dispatching(settings):
        query = "SELECT count(*) FROM deliveries WHERE state = 'dead' AND reason = 'expired'"
        until(lambda: on_journal(settings, query)[0][0] == 2, what="both are dead while the backend is paused")
