"""The journal guards itself: append-only tables, allowed transitions, migrations that match the tables."""

import asyncio
from collections.abc import Coroutine
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.journal import connect, migrate, transactional
from orders.states import BACKLOG, FINAL, TRANSITIONS, State
from orders.tables import APPEND_ONLY, metadata

SEED = {
    "orders": "INSERT INTO orders VALUES (gen_random_uuid(), 'p', 'r', 'b', 'd', now(), 'c')",
    "attempts": "INSERT INTO attempts VALUES "
    "(gen_random_uuid(), gen_random_uuid(), now(), now(), 'accepted', 200, '', 'w')",
    "receipts": "INSERT INTO receipts (order_id, lease, backend, reference, lines) VALUES "
    "(gen_random_uuid(), gen_random_uuid(), 'erp', 'E1', '[]')",
    "operations": "INSERT INTO operations (operator, act, detail) VALUES ('o', 'pause', '{}')",
}
CHANGE = {
    "orders": "UPDATE orders SET body = 'x'",
    "attempts": "UPDATE attempts SET outcome = 'refused'",
    "receipts": "UPDATE receipts SET reference = 'E2'",
    "operations": "UPDATE operations SET operator = 'nobody'",
}


def on_engine(url: str, work: Any) -> Any:
    async def run() -> Any:
        engine = connect(url)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())


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
    assert not {old for old, _ in TRANSITIONS} & {State.DELIVERED, State.CANCELLED, State.DISCARDED}


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
