"""What is answered for is on disk once it is committed, whatever `synchronous_commit` somebody has set, and where."""

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.intake.group_commit import Intake
from orders.journal import transactional
from orders.schema.tables.common import metadata
from orders.schema.triggers import RELAXED
from tests.intake import order
from tests.journal import on_engine

BEHIND = text("SELECT pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn()")  # bytes that are not on disk yet
SET = text("SELECT current_setting('synchronous_commit')")


async def late(engine: AsyncEngine) -> int:
    """After how many of 40 orders that were accepted their commit was not on disk."""
    intake, found = Intake(engine, "erp"), 0
    async with engine.connect() as watching:
        for number in range(40):
            await intake.accept(order(f"D{number}"), "front")
            found += (await watching.execute(BEHIND)).scalar_one() > 0
    await intake.close()
    return found


async def unguarded(engine: AsyncEngine) -> int:
    """The same without the guard: what the setting would do."""
    async with engine.connect() as connection:
        await connection.execute(text("DROP TRIGGER durable ON orders"))
        await connection.execute(text("DROP TRIGGER durable ON deliveries"))
    return await late(engine)


@pytest.mark.parametrize("where", ["database", "url", "options", "session"])
def test_an_order_that_is_answered_is_on_disk_though_commits_are_asynchronous(database_url: str, where: str) -> None:
    address = make_url(database_url)

    async def set_it(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await connection.execute(text(f"ALTER DATABASE {address.database} SET synchronous_commit = off"))

    async def in_session(engine: AsyncEngine) -> int:
        """Set while the connections live, as a server's configuration that is read again would."""
        held = [await engine.connect() for _ in range(3)]
        for connection in held:
            await connection.execute(text("SET synchronous_commit = off"))
            await connection.close()
        return await late(engine)

    url, work = database_url, late
    if where == "database":
        on_engine(database_url, set_it)
    elif where == "url":
        url = address.update_query_dict({"synchronous_commit": "off"}).render_as_string(hide_password=False)
    elif where == "options":
        url = address.update_query_dict({"options": "-c synchronous_commit=off"}).render_as_string(hide_password=False)
    else:
        work = in_session

    async def read(engine: AsyncEngine) -> str:
        async with engine.connect() as connection:
            return str((await connection.execute(SET)).scalar_one())

    if where != "session":
        assert on_engine(url, read) == "off", "it is set"
    assert on_engine(url, work) <= 4, "nearly all: somebody else may write"


def test_without_the_guard_they_would_not_be(database_url: str) -> None:
    url = make_url(database_url).update_query_dict({"synchronous_commit": "off"})
    assert on_engine(url.render_as_string(hide_password=False), unguarded) > 20


@pytest.mark.parametrize("table", [table.name for table in metadata.sorted_tables if table not in RELAXED])
def test_every_table_that_an_answer_rests_on_waits_for_the_disk(database_url: str, table: str) -> None:
    async def work(engine: AsyncEngine) -> list[str]:
        found = []
        for mode in ("off", "local", "remote_write", "on", "remote_apply"):
            async with transactional(engine).connect() as connection:
                await connection.execute(text(f"SET LOCAL synchronous_commit = {mode}"))
                await connection.execute(
                    text(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {table} WHERE false")
                )
                found.append(str((await connection.execute(SET)).scalar_one()))
        return found

    assert on_engine(database_url, work) == ["on", "local", "remote_write", "on", "remote_apply"]


@pytest.mark.parametrize("table", [table.name for table in RELAXED])
def test_what_is_made_good_by_itself_waits_for_nothing(database_url: str, table: str) -> None:
    async def work(engine: AsyncEngine) -> str:
        async with transactional(engine).connect() as connection:
            await connection.execute(text("SET LOCAL synchronous_commit = off"))
            await connection.execute(
                text(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {table} WHERE false")
            )
            return str((await connection.execute(SET)).scalar_one())

    assert on_engine(database_url, work) == "off"
