"""Tests share journals, one after the other: each finds what the template has, whatever was done before it."""

import asyncio
from typing import Any

import asyncpg
import pytest

from config.embedded.postgres import Postgres
from tests.machines.journals import TEMPLATE, Journals

ACT = "INSERT INTO operations (operator, act, detail) VALUES ('jeanne', 'hold', '{}') RETURNING id"
OID = "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"
VERSION = "SELECT version_num FROM alembic_version"

CHANGES = [
    "ALTER TABLE operations DISABLE TRIGGER USER",
    "ALTER TABLE operations ALTER act SET DEFAULT 'hold'",
    "ALTER TABLE operations SET (fillfactor = 50)",
    "CREATE TABLE left_behind ()",
    "DROP TABLE alembic_version",
    "GRANT SELECT ON operations TO PUBLIC",
    "GRANT SELECT (act) ON operations TO PUBLIC",
    "GRANT CREATE ON SCHEMA public TO PUBLIC",
    "CREATE OR REPLACE FUNCTION relais_tx() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT 1::bigint'",
    "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); END $$",
]


def ask(postgres: Postgres, name: str, *statements: str) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(postgres.database_url(name))
        try:
            return [await connection.fetchval(statement) for statement in statements]
        finally:
            await connection.close()

    return asyncio.run(run())


def test_nothing_that_was_written_is_there_for_the_next(postgres: Postgres, journals: Journals) -> None:
    first = journals.take()
    before, one, two, _ = ask(postgres, first, OID, ACT, ACT, "DELETE FROM alembic_version")
    assert (one, two) == (1, 2)
    journals.give_back(first)
    second = journals.take()
    after, number, version = ask(postgres, second, OID, ACT, VERSION)
    assert (after, number) == (before, 1), "the same database, its numbers begin anew"
    assert [version] == ask(postgres, TEMPLATE, VERSION) != [None]
    assert ask(postgres, second, "SELECT count(*) FROM operations") == [1]
    assert second != first
    journals.give_back(second)


@pytest.mark.parametrize("change", CHANGES)
def test_one_whose_catalogue_was_changed_goes_to_nobody(postgres: Postgres, journals: Journals, change: str) -> None:
    first = journals.take()
    before, _ = ask(postgres, first, OID, change)
    journals.give_back(first)
    second = journals.take()
    assert ask(postgres, second, OID) != [before]
    journals.give_back(second)
