"""PostgreSQL answers and refuses: whatever keeps an order out of the journal and is not its own fault spills it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.postgres import Postgres
from orders.errors import Malformed
from orders.intake import doubt, store_switch
from orders.intake.entries import Accepted, entry
from orders.intake.group_commit import Intake
from orders.intake.routing import always
from orders.intake.spill import SpillSigner
from orders.intake.store_switch import Mode
from orders.journal import connect
from orders.queries import order_pages
from orders.queries import orders as order_queries
from orders.schema.migrate import migrate
from tests.intake import order
from tests.waiting import auntil
from workers.intake.spill_drain import unspill
from workers.intake.spill_store import RedisSpill

KEY = SpillSigner.of(SecretStr("a key that is shared"))
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"

# What is done to the journal while the intake runs, and how it is undone; `role` is the intake's, `name` its database.
STATES: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "28P01 the password was rotated": (
        ("ALTER ROLE {role} PASSWORD 'rotated'", CUT),
        ("ALTER ROLE {role} PASSWORD 'secret'",),
    ),
    "28000 the role may not log in": (("ALTER ROLE {role} NOLOGIN", CUT), ("ALTER ROLE {role} LOGIN",)),
    "42501 the role may not connect": (
        ("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC, {role}", CUT),
        ("GRANT CONNECT ON DATABASE {name} TO {role}",),
    ),
    "53300 too many connections": (
        ("ALTER ROLE {role} CONNECTION LIMIT 0", CUT),
        ("ALTER ROLE {role} CONNECTION LIMIT -1",),
    ),
    "3D000 the database is gone": (
        (CUT, "ALTER DATABASE {name} RENAME TO {name}_away"),
        ("ALTER DATABASE {name}_away RENAME TO {name}",),
    ),
    "55000 the database takes no connections": (
        ("ALTER DATABASE {name} ALLOW_CONNECTIONS false", CUT),
        ("ALTER DATABASE {name} ALLOW_CONNECTIONS true",),
    ),
    "25006 the journal is read-only": (
        ("ALTER ROLE {role} SET default_transaction_read_only = on", CUT),
        ("ALTER ROLE {role} RESET default_transaction_read_only", CUT),
    ),
    "57P01 an administrator ends every connection": (
        ("ALTER ROLE {role} NOLOGIN", CUT),
        ("ALTER ROLE {role} LOGIN",),
    ),
    "42P01 the table is gone": (
        ("@ALTER TABLE orders RENAME TO orders_away",),
        ("@ALTER TABLE orders_away RENAME TO orders",),
    ),
    "42703 a column is gone": (
        ("@ALTER TABLE orders RENAME traceparent TO trace",),
        ("@ALTER TABLE orders RENAME trace TO traceparent",),
    ),
    "42501 the right to insert was taken": (
        ("@REVOKE INSERT ON deliveries FROM {role}",),
        ("@GRANT INSERT ON deliveries TO {role}",),
    ),
    "42501 the right to the schema was taken": (
        ("@REVOKE USAGE ON SCHEMA public FROM PUBLIC, {role}", CUT),
        ("@GRANT USAGE ON SCHEMA public TO {role}",),
    ),
    "23502 a column that this version does not know must be filled": (
        ("@ALTER TABLE orders ADD shelf text", "@ALTER TABLE orders ADD CHECK (shelf IS NOT NULL) NOT VALID"),
        ("@ALTER TABLE orders DROP shelf",),
    ),
    "57P03 the server takes no connections now": (
        (
            "@CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF session_user = '{role}' THEN "
            "RAISE 'starting up' USING ERRCODE = 'cannot_connect_now'; END IF; END $$",
            "@CREATE EVENT TRIGGER no ON login EXECUTE FUNCTION no()",
            CUT,
        ),
        ("@DROP EVENT TRIGGER no", "@DROP FUNCTION no"),
    ),
    "53100 the disk is full": (
        (
            "@CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
            "@CREATE TRIGGER no BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION no()",
        ),
        ("@DROP TRIGGER no ON orders", "@DROP FUNCTION no"),
    ),
    "P0001 a trigger raises": (
        (
            "@CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$",
            "@CREATE TRIGGER no BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION no()",
        ),
        ("@DROP TRIGGER no ON orders", "@DROP FUNCTION no"),
    ),
}


@dataclasses.dataclass(frozen=True)
class Place:
    """A journal that the intake uses by a role of its own, and its owner's hand on it."""

    postgres: Postgres
    name: str
    role: str
    url: str

    def does(self, statements: Sequence[str]) -> None:
        """Do as the owner; `@` is in the journal's own database."""

        async def run() -> None:
            for statement in statements:
                inside = statement.startswith("@")
                url = self.postgres.database_url(self.name) if inside else self.postgres.url
                connection = await asyncpg.connect(url, timeout=10)
                try:
                    await connection.execute(
                        statement.lstrip("@").replace("{role}", self.role).replace("{name}", self.name)
                    )
                finally:
                    await connection.close()

        asyncio.run(run())


@pytest.fixture
def place(postgres: Postgres, owner_url: str) -> Iterator[Place]:
    role = f"r_{uuid.uuid4().hex}"
    address = make_url(owner_url).set(username=role, password="secret")
    url = address.render_as_string(hide_password=False)
    migrate(owner_url, used_by=url)
    place = Place(postgres, address.database or "", role, url)
    yield place
    place.does([CUT, "@DROP OWNED BY {role}", "DROP ROLE {role}"])


def at(place: Place, redis_url: str, work: Callable[[Intake], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        engine = connect(place.url, timeout=5)
        intake = Intake(engine, "erp", spill=(RedisSpill(redis_url), KEY))
        try:
            return await work(intake)
        finally:
            await intake.close()
            await engine.dispose()

    return asyncio.run(run())


async def drained(url: str, redis_url: str) -> tuple[list[str], dict[str, int]]:
    """The references in the journal once the spill is in it, and what was set aside."""
    engine, store = connect(url), RedisSpill(redis_url)
    try:
        async with engine.connect() as connection:
            await unspill(connection, store, KEY, always("erp"))
        return await _references(engine), await order_queries.asides_by_kind(engine)
    finally:
        await store.close()
        await engine.dispose()


async def _references(engine: AsyncEngine) -> list[str]:
    return sorted(json.loads(row.summary)["reference"] for row in await order_pages.page(engine))


@pytest.mark.parametrize("state", list(STATES))
def test_whatever_keeps_orders_out_of_the_journal_leads_them_to_the_spill_from_the_first_one_on(
    place: Place, redis_url: str, state: str
) -> None:
    bad, good = STATES[state]

    async def work(intake: Intake) -> None:
        assert (await intake.accept(order("BEFORE"), "front")).kept == "journal"
        await asyncio.to_thread(place.does, bad)
        alone = [await intake.accept(order(f"ALONE{n}"), "front") for n in range(3)]
        many = await intake.accept_all([entry(order(f"MANY{n}"), "front", "erp") for n in range(20)])
        assert [(each.kept, each.repeated) for each in alone] == [("spill", False)] * 3
        assert {each.kept for each in many if isinstance(each, Accepted)} == {"spill"}
        assert len([each for each in many if isinstance(each, Accepted)]) == 20
        await asyncio.to_thread(place.does, good)
        await auntil(lambda: intake.store_switch.mode is Mode.JOURNAL, 10)
        assert (await intake.accept(order("AFTER"), "front")).kept == "journal"

    at(place, redis_url, work)
    references, asides = asyncio.run(drained(place.url, redis_url))
    assert references == sorted(["BEFORE", "AFTER", *(f"ALONE{n}" for n in range(3)), *(f"MANY{n}" for n in range(20))])
    assert asides == {}


@pytest.mark.parametrize("state", [state for state in STATES if not state.startswith(("P0001", "23502", "53100"))])
def test_a_journal_that_would_refuse_an_order_is_known_by_a_look(place: Place, redis_url: str, state: str) -> None:
    bad, good = STATES[state]

    async def work(intake: Intake) -> None:
        assert await intake.store_switch.look() is Mode.JOURNAL
        await asyncio.to_thread(place.does, bad)
        assert await intake.store_switch.look() is Mode.SPILL
        await asyncio.to_thread(place.does, good)
        await auntil(lambda: intake.store_switch.mode is Mode.JOURNAL, 10)

    at(place, redis_url, work)


def test_a_journal_that_answers_and_refuses_is_believed_later_each_time(
    place: Place, redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = STATES["53100 the disk is full"]
    monkeypatch.setattr(store_switch, "PROBE", 0.02)
    monkeypatch.setattr(doubt, "FIRST", 0.04)

    async def work(intake: Intake) -> None:
        await asyncio.to_thread(place.does, bad)
        deadline, number = time.monotonic() + 2.0, 0
        while time.monotonic() < deadline:
            assert (await intake.accept(order(f"FULL{number}"), "front")).kept == "spill"
            number += 1
        back = [record for record in caplog.records if record.message == "the journal is back"]
        assert 2 <= len(back) <= 7, "0.04 s, then twice as long each time"
        await asyncio.to_thread(place.does, good)
        await auntil(lambda: intake.store_switch.mode is Mode.JOURNAL, 10)
        assert (await intake.accept(order("AFTER"), "front")).kept == "journal"

    at(place, redis_url, work)


def test_a_doubt_doubles_up_to_half_a_minute_and_is_forgotten_once_the_journal_was_steady() -> None:
    now, full, away = 0.0, DBAPIError("", {}, BaseException()), OSError()
    assert full.orig is not None
    full.orig.__cause__ = asyncpg.DiskFullError()
    doubts = doubt.Doubt(lambda: now)

    def refuses(after: float, why: Exception = full) -> float:
        """Seconds for which it is in doubt when it fails so long after it was found well."""
        nonlocal now
        doubts.found()
        now += after
        doubts.lost(why)
        began = now
        while not doubts.over:
            now += 0.5
        return now - began

    assert [refuses(0.1) for _ in range(7)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert refuses(0.1, away) == 0.0, "one that does not answer is believed as soon as it does"
    assert (refuses(0.1), refuses(0.1), refuses(61), refuses(0.1)) == (1.0, 2.0, 0.0, 1.0)


def test_an_order_that_cannot_be_written_is_refused_alone(place: Place, redis_url: str) -> None:
    too_much = "IF NEW.reference = 'R17' THEN RAISE 'x' USING ERRCODE = 'program_limit_exceeded'; END IF; RETURN NEW;"
    place.does(
        (
            f"@CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {too_much} END $$",
            "@CREATE TRIGGER no BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION no()",
        )
    )

    async def work(intake: Intake) -> list[Any]:
        entries = [entry(order(f"R{n}"), "front", "erp") for n in range(20)]
        entries[7] = entries[7]._replace(reference="R\x007")
        entries[13] = entries[13]._replace(origin='{"a": "\\u0000"}')
        answers = await intake.accept_all(entries)
        assert intake.store_switch.mode is Mode.JOURNAL
        return list(answers)

    answers = at(place, redis_url, work)
    assert [n for n, each in enumerate(answers) if isinstance(each, Malformed)] == [7, 13, 17]
    assert [each.kept for each in answers if isinstance(each, Accepted)] == ["journal"] * 17
    assert str(answers[7]) == "body: the journal cannot write this order"
    assert asyncio.run(drained(place.url, redis_url)) == (
        sorted(f"R{n}" for n in range(20) if n not in (7, 13, 17)),
        {},
    )


@pytest.mark.parametrize(
    "state", ["42P01 the table is gone", "42501 the right to insert was taken", "P0001 a trigger raises"]
)
def test_a_spilled_order_that_the_journal_will_not_have_now_stays_in_the_spill(
    place: Place, redis_url: str, state: str
) -> None:
    bad, good = STATES[state]

    async def work(intake: Intake) -> None:
        intake.store_switch.lose_journal()
        assert (await intake.accept(order("KEPT"), "front")).kept == "spill"

    at(place, redis_url, work)
    place.does(bad)
    with pytest.raises(Exception, match=r"orders|deliveries|no"):
        asyncio.run(drained(place.url, redis_url))
    place.does(good)
    assert asyncio.run(drained(place.url, redis_url)) == (["KEPT"], {})
