"""The journal guards itself: append-only tables, allowed transitions, migrations that match the tables."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from importlib import import_module
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.postgres import Postgres
from orders.access.key_cache import KeyCache
from orders.journal import transactional
from orders.queries import replays as replay_queries
from orders.schema import recording
from orders.schema.acts import laying
from orders.schema.cause_triggers import keeping
from orders.schema.migrate import migrate
from orders.schema.tables.common import metadata
from orders.schema.tables.core import backends
from orders.schema.tables.reconcile import findings, reconciliations
from orders.schema.tally_triggers import COUNTED, counting
from orders.schema.triggers import (
    APPEND_ONLY,
    DROPPED_ONLY,
    DURABLE_FUNCTION,
    EVENT,
    EVENT_BORN,
    EVENT_FUNCTION,
    RELAXED,
    TRANSITION,
    forbid_change,
    wait_for_disk,
)
from orders.sentences import Code
from orders.states import BACKLOG, FINAL, TRANSITIONS, State
from tests.journal import on_engine

SEED = {
    "orders": "INSERT INTO orders VALUES (gen_random_uuid(), 'p', 'r', 'b', 'd', now(), 'c')",
    "attempts": "INSERT INTO attempts VALUES "
    "(gen_random_uuid(), gen_random_uuid(), now(), now(), 'accepted', 200, '', 'w')",
    "receipts": "INSERT INTO receipts (order_id, lease, backend, reference, lines) VALUES "
    "(gen_random_uuid(), gen_random_uuid(), 'erp', 'E1', '[]')",
    "operations": "INSERT INTO operations (operator, act, detail) VALUES ('o', 'pause', '{}')",
    "events": "INSERT INTO events (order_id, state) VALUES (gen_random_uuid(), 'dead')",
    "asides": "INSERT INTO asides (digest, kind, why, raw) VALUES ('d', 'unreadable', '\"w\"', 'r')",
    "findings": "INSERT INTO findings (reconciliation, order_id, kind, detail) "
    "VALUES (1, gen_random_uuid(), 'missing', '\"d\"')",
    "seals": "INSERT INTO seals VALUES (1, 1, 0, 0, 9, '{}', now(), NULL, 'p', 'm', 'k', 's')",
    "evidence": "INSERT INTO evidence (backend, lease, kind, conclusive, detail) VALUES "
    "('erp', gen_random_uuid(), 'refusals', false, 'w')",
    "changes": "INSERT INTO changes (source, content) VALUES ('accounts', '{}')",
    "cause_notes": "INSERT INTO cause_notes (cause, operator, words) VALUES (1, 'o', 'w')",
    "mappings": "INSERT INTO mappings (backend, version, kind, code, target) VALUES ('erp', 1, 'pharmacy', 'P1', 'C1')",
}
CHANGE = {
    "orders": "UPDATE orders SET body = 'x'",
    "attempts": "UPDATE attempts SET outcome = 'refused'",
    "receipts": "UPDATE receipts SET reference = 'E2'",
    "operations": "UPDATE operations SET operator = 'nobody'",
    "events": "UPDATE events SET state = 'delivered'",
    "asides": "UPDATE asides SET why = '\"x\"'",
    "findings": "UPDATE findings SET kind = 'unknown'",
    "seals": "UPDATE seals SET to_tx = 10",
    "evidence": "UPDATE evidence SET conclusive = false",
    "changes": "UPDATE changes SET login = 'nobody'",
    "cause_notes": "UPDATE cause_notes SET words = 'x'",
    "mappings": "UPDATE mappings SET target = 'C2'",
}


async def execute(engine: AsyncEngine, statement: str) -> None:
    async with engine.connect() as connection:
        await connection.execute(text(statement))


@pytest.mark.parametrize("table", [table.name for table in APPEND_ONLY])
def test_append_only_tables_refuse_every_change(database_url: str, table: str) -> None:
    async def work(engine: AsyncEngine) -> int:
        await execute(engine, SEED[table])
        for statement in (CHANGE[table], f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises(DBAPIError, match="append-only"):
                await execute(engine, statement)
        async with engine.connect() as connection:
            return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())

    assert on_engine(database_url, work) == 1


def test_deliveries_cannot_be_deleted(database_url: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        for statement in ("DELETE FROM deliveries", "TRUNCATE deliveries"):
            with pytest.raises(DBAPIError, match="append-only"):
                await execute(engine, statement)

    on_engine(database_url, work)


def test_every_transition_in_the_table_is_possible_and_no_other(database_url: str) -> None:
    async def work(engine: AsyncEngine) -> None:
        for old, new in product(State, State):
            order_id = uuid4()
            await execute(
                engine,
                "INSERT INTO deliveries (order_id, state, backend, priority, cut_off) "
                f"VALUES ('{order_id}', '{old}', 'erp', 1, 'infinity')",
            )
            change = f"UPDATE deliveries SET state = '{new}' WHERE order_id = '{order_id}'"
            if old == new or (old, new) in TRANSITIONS:
                await execute(engine, change)
            else:
                with pytest.raises(DBAPIError, match=f"may not go from {old} to {new}"):
                    await execute(engine, change)

    on_engine(database_url, work)


def test_the_table_of_transitions_is_whole() -> None:
    reached = {State.ACCEPTED}
    while more := {new for old, new in TRANSITIONS if old in reached} - reached:
        reached |= more
    assert reached == set(State)
    assert {old for old, _ in TRANSITIONS} >= set(BACKLOG)
    assert set(BACKLOG) | set(FINAL) == set(State)
    assert not {old for old, _ in TRANSITIONS} & {State.CANCELLED, State.DISCARDED}


def test_migrations_build_what_the_tables_say(database_url: str) -> None:
    def difference(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async def work(engine: AsyncEngine) -> list[Any]:
        async with transactional(engine).connect() as connection:
            return list(await connection.run_sync(difference))

    assert [change for change in on_engine(database_url, work) if "alembic_version" not in str(change)] == []


def test_migrating_again_and_at_once_does_nothing(database_url: str) -> None:
    async def both() -> None:
        await asyncio.gather(*(asyncio.to_thread(migrate, database_url) for _ in range(3)))

    runs: Coroutine[Any, Any, None] = both()
    asyncio.run(runs)


def test_guards_are_as_the_code_says(database_url: str) -> None:
    """Laid again from `orders.schema.triggers`, triggers and functions are the same as the migrations left them."""
    query = text("""
    SELECT t.tgname, t.tgrelid::regclass::text, pg_get_triggerdef(t.oid), p.prosrc
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal
    UNION ALL SELECT proname, '', pg_get_functiondef(oid), prosrc FROM pg_proc WHERE proname ~ '^relais_'
    ORDER BY 2, 1
    """)

    async def work(engine: AsyncEngine) -> None:
        async with transactional(engine).connect() as connection:
            before = [tuple(row) for row in await connection.execute(query)]
            for name in ("transition", "event", "event_born", "forwarding"):
                await connection.execute(text(f"DROP TRIGGER {name} ON deliveries"))
            for table in APPEND_ONLY:
                await connection.execute(text(f"DROP TRIGGER append_only ON {table.name}"))
                await connection.execute(text(forbid_change(table.name)))
            await connection.execute(text("DROP TRIGGER kept ON asides"))
            await connection.execute(text(DROPPED_ONLY))
            for table in metadata.sorted_tables:
                if table not in RELAXED:
                    await connection.execute(text(f"DROP TRIGGER durable ON {table.name}"))
            await connection.execute(text("DROP FUNCTION relais_durable"))
            await connection.execute(text(DURABLE_FUNCTION))
            for table in metadata.sorted_tables:
                if table not in RELAXED:
                    await connection.execute(text(wait_for_disk(table.name)))
            await connection.execute(text("DROP FUNCTION relais_event"))
            for name, (what, _) in COUNTED.items():
                await connection.execute(text(f"DROP TRIGGER tally_{name} ON {what.split()[2]}"))
                await connection.execute(text(f"DROP FUNCTION relais_tally_{name}"))
            for name in ("cause", "cause_insert", "causes_born", "causes_moved"):
                await connection.execute(text(f"DROP TRIGGER {name} ON deliveries"))
            for name in ("cause_message", "cause_of", "cause", "causes_born", "causes_moved"):
                await connection.execute(text(f"DROP FUNCTION relais_{name}"))
            for name, table in recording.triggers():
                await connection.execute(text(f"DROP TRIGGER {name} ON {table}"))
            for name in (
                *recording.FUNCTIONS,
                *(f"relais_{each}" for each in ("forwarding", "quarantine", "release", "cancel")),
            ):
                await connection.execute(text(f"DROP FUNCTION {name}"))
            for statement in (TRANSITION, EVENT_FUNCTION, EVENT, EVENT_BORN, *counting()):
                await connection.execute(text(statement))
            for statement in (*keeping(), *laying(), *recording.laying()):
                await connection.exec_driver_sql(statement)
            after = [tuple(row) for row in await connection.execute(query)]
        assert before == after

    on_engine(database_url, work)


def test_what_follows_a_change_of_deliveries_is_done_once_a_statement(database_url: str) -> None:
    """For each row by itself it would cost half of what settling a batch does."""
    query = text("""
    SELECT tgname FROM pg_trigger WHERE tgrelid = 'deliveries'::regclass AND NOT tgisinternal
      AND pg_get_triggerdef(oid) ~ ' AFTER .* FOR EACH ROW'
    """)

    async def work(engine: AsyncEngine) -> list[str]:
        async with engine.connect() as connection:
            return [row[0] for row in await connection.execute(query)]

    assert on_engine(database_url, work) == []


def test_a_journal_with_orders_is_brought_up_to_date(postgres: Postgres) -> None:
    """What an older version wrote is kept: keys go on working, and an order's validity is honoured."""

    def old(connection: Connection) -> None:
        for statement in import_module("orders.migrations.versions.0001_journal").STATEMENTS:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('0001')")

    async def work(engine: AsyncEngine) -> tuple[Any, Any]:
        async with transactional(engine).begin() as connection:
            await connection.run_sync(old)
            await connection.execute(text("INSERT INTO clients VALUES ('front', sha256('relais_k'), now(), NULL)"))
            body = '{"valid_until":"2026-01-01T00:00:00Z"}'
            await connection.execute(
                text("INSERT INTO orders VALUES (gen_random_uuid(), 'p', 'r', CAST(:body AS bytea), 'd', now(), 'c')"),
                {"body": body.encode()},
            )
            await connection.execute(
                text(
                    "INSERT INTO deliveries (order_id, state, backend, priority, cut_off) "
                    "SELECT id, 'accepted', 'erp', 1, 'infinity' FROM orders"
                )
            )
        await asyncio.to_thread(migrate, url)
        keys = KeyCache(engine)
        caller = await keys.caller("Bearer relais_k")
        await keys.close()
        async with engine.connect() as connection:
            return caller, (await connection.execute(text("SELECT valid_until FROM deliveries"))).scalar_one()

    name = f"t_{uuid4().hex}"
    url = postgres.database_url(name)
    on_engine(postgres.url, lambda engine: execute(engine, f"CREATE DATABASE {name}"))
    caller, valid_until = on_engine(url, work)
    assert (caller.name, caller.scopes) == ("front", {"orders:write", "orders:read"})
    assert valid_until == datetime(2026, 1, 1, tzinfo=UTC)


def test_what_was_kept_as_a_text_goes_on_as_one_and_what_an_erp_said_is_known_as_such(database_url: str) -> None:
    statements = import_module("orders.migrations.versions.0017_sentences").STATEMENTS
    order = "0199a2b4-7c11-7def-8abc-0123456789ab"
    old = (
        "ALTER TABLE acts ALTER note TYPE text",
        *(f"ALTER TABLE {table} ALTER why TYPE text" for table in ("backends", "replays")),
        "DROP TRIGGER recorded_why ON backends",
        "ALTER TABLE backends ALTER held_why TYPE text",
        "ALTER TABLE findings ALTER detail TYPE text",
        'INSERT INTO backends (name, "window", why, held_why, quarantined_by) VALUES '
        f"('a', 1, 'no answer in time: M', 'wrong_digest, order {order}: other bytes: M', 'relais'), "
        "('b', 1, 'released from quarantine', 'stocktaking, order 7', NULL), ('c', 1, NULL, NULL, NULL)",
        "INSERT INTO replays (backend, choice, why, history, started_by) VALUES ('a', '{}', 'night', "
        '\'[{"stage": 1, "failed": null}, {"stage": 10, "failed": "too slow"}]\', \'o\')',
        "INSERT INTO findings (reconciliation, order_id, kind, detail) VALUES "
        "(1, gen_random_uuid(), 'missing', 'gone'), "
        "(2, gen_random_uuid(), 'foreign', 'the ERP has it as E-1, it was never sent'), "
        "(3, gen_random_uuid(), 'foreign', 'the ERP has it as E-2, the journal does not know it'), "
        "(4, gen_random_uuid(), 'altered', 'the ERP lists other bytes under its id'), "
        "(5, gen_random_uuid(), 'unknown', 'no answer in time')",
    )

    async def work(engine: AsyncEngine) -> tuple[Any, ...]:
        for statement in (*old, *statements):
            await execute(engine, statement)
        async with engine.connect() as connection:
            whys = select(backends.c.why, backends.c.held_why).order_by(backends.c.name)
            held = (await connection.execute(whys)).all()
            kept = await connection.execute(select(findings.c.detail).order_by(findings.c.reconciliation))
            return held, kept.scalars().all(), await replay_queries.standing(engine)

    held, found, (replay,) = on_engine(database_url, work)
    assert [tuple(each) for each in held] == [
        ("no answer in time: M", f"wrong_digest, order {order}: other bytes: M"),
        ("released from quarantine", "stocktaking, order 7"),
        (None, None),
    ]
    codes = [[each and each.code for each in row] for row in held]
    assert codes == [[Code.MET, Code.PROVED], [Code.RELEASED, Code.TEXT], [None, None]]
    assert held[0].held_why.params["detail"] == "other bytes: M"
    assert [each.code for each in found] == [
        Code.GONE,
        Code.NOT_SENT,
        Code.NOT_KNOWN,
        Code.OTHER_BYTES,
        Code.MET,
    ]
    assert [each.params.get("reference") for each in found][1:3] == ["E-1", "E-2"]
    assert (replay["why"], replay["why"].code) == ("night", Code.TEXT)
    assert [each["failed"] for each in replay["history"]] == [None, "too slow"]


def test_a_reconciliation_since_ever_is_read_again_and_there_is_none_any_more(database_url: str) -> None:
    statements = import_module("orders.migrations.versions.0018_instants").STATEMENTS
    ever = (
        "INSERT INTO reconciliations (backend, since, until, cursor_at, cursor_id, started_by) "
        "VALUES ('erp', '-infinity', now(), '-infinity', gen_random_uuid(), 'o')"
    )

    async def work(engine: AsyncEngine) -> tuple[Any, ...]:
        await execute(engine, "ALTER TABLE reconciliations DROP CONSTRAINT ck_reconciliations_times")
        await execute(engine, "ALTER TABLE accounts DROP CONSTRAINT ck_accounts_name")
        for statement in (ever, *statements):
            await execute(engine, statement)
        with pytest.raises(IntegrityError, match="ck_reconciliations_times"):
            await execute(engine, ever)
        with pytest.raises(IntegrityError, match="ck_accounts_name"):
            await execute(engine, "INSERT INTO accounts (name, role) VALUES ('Alice', 'approver')")
        async with engine.connect() as connection:
            query = select(reconciliations.c.since, reconciliations.c.cursor_at)
            return tuple((await connection.execute(query)).one())

    first = datetime(1900, 1, 1, tzinfo=UTC)
    assert on_engine(database_url, work) == (first, first)
