"""Journals for tests on one server, each a database of its own name. Copying one costs a fifth of a second of a
processor, emptying one a tenth of that, so a journal that a test gives back goes to the next, emptied and renamed.
One whose catalogue is no longer the template's, where a test has changed a table, a trigger or a right, is dropped.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final

import asyncpg

from config.embedded.postgres import DATABASE, Postgres
from orders.schema.migrate import migrate
from tests.machines.servers import COPY

TEMPLATE: Final = "relais_template"

# What DDL leaves behind; of pg_class not what TRUNCATE and VACUUM change.
ROWS: Final = (
    "pg_attrdef pg_attribute pg_constraint pg_default_acl pg_event_trigger pg_index pg_namespace pg_policy pg_proc "
    "pg_rewrite pg_sequence pg_statistic_ext pg_trigger pg_type"
)
CATALOGUE: Final = " UNION ALL ".join(
    [
        """SELECT md5(string_agg((oid, relname, relnamespace, relowner, relkind, relacl, reloptions, relpersistence,
        relrowsecurity, relreplident)::text, ' ' ORDER BY oid)) FROM pg_class""",
        "SELECT concat(datacl, datconnlimit, datallowconn) FROM pg_database WHERE datname = current_database()",
        """SELECT string_agg(s::text, ' ') FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
        WHERE datname = current_database()""",
        *(f"SELECT concat(count(*), ' ', max(xmin::text::bigint)) FROM {name}" for name in ROWS.split()),
    ]
)
WRITTEN: Final = """SELECT oid::regclass::text FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0"""
OTHERS: Final = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1 AND pid <> $2"
# Who may connect, and that nobody makes temporary tables, is not copied.
OPENED: Final = f"""UPDATE pg_database SET datacl = (SELECT datacl FROM pg_database WHERE datname = '{DATABASE}')
WHERE datname = '{{}}'"""
TIDY: Final = """
SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence WHERE pg_sequence_last_value(seqrelid) IS NOT NULL;
DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace);
SELECT pg_stat_reset()"""


class Journals:
    """Takes from, and gives back to, the journals of one server."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        asyncio.run(self._execute(COPY.format(TEMPLATE, DATABASE)))
        asyncio.run(self._execute(OPENED.format(TEMPLATE)))
        self._spare: str | None = None
        self._catalogue, self._rows = asyncio.run(self._template())

    def take(self) -> str:
        """The name of a migrated, empty journal."""
        return asyncio.run(self._take())

    def bare(self) -> str:
        """The same, which no role may use yet."""
        name = f"t_{uuid.uuid4().hex}"
        asyncio.run(self._execute(f"CREATE DATABASE {name}"))
        migrate(self._postgres.database_url(name))
        return name

    def give_back(self, name: str) -> None:
        """Empty it for the next, or drop it."""
        asyncio.run(self._give_back(name))

    async def _take(self) -> str:
        name, spare, self._spare = f"t_{uuid.uuid4().hex}", self._spare, None
        if spare is None:
            await self._execute(COPY.format(name, TEMPLATE))
            await self._execute(OPENED.format(name))
        else:
            await self._execute(f"ALTER DATABASE {spare} RENAME TO {name}", others=spare)
        return name

    async def _give_back(self, name: str) -> None:
        connection = await asyncpg.connect(self._postgres.database_url(name), timeout=10)
        try:
            await connection.fetch(OTHERS, name, connection.get_server_pid())
            emptied = await self._emptied(connection)
        finally:
            await connection.close()
        if emptied and self._spare is None:
            self._spare = name
        else:
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _emptied(self, connection: asyncpg.Connection[Any]) -> bool:
        if await connection.fetch(CATALOGUE) != self._catalogue:
            return False
        await connection.execute("SET session_replication_role = replica")  # no trigger says no
        written = {row[0] for row in await connection.fetch(WRITTEN)} - {*self._rows}
        if written:
            await connection.execute(f"TRUNCATE {', '.join(written)} CASCADE")
        for table, rows in self._rows.items():
            if await connection.fetch(f"TABLE {table}") != rows:
                await connection.execute(f"DELETE FROM {table}")
                await connection.copy_records_to_table(table, records=rows)
        await connection.execute(TIDY)
        return True

    async def _template(self) -> tuple[list[Any], dict[str, list[Any]]]:
        """Its catalogue, and the rows that a journal has from the beginning."""
        connection = await asyncpg.connect(self._postgres.database_url(TEMPLATE), timeout=10)
        try:
            written = [row[0] for row in await connection.fetch(WRITTEN)]
            rows = {table: await connection.fetch(f"TABLE {table}") for table in written}
            return await connection.fetch(CATALOGUE), rows
        finally:
            await connection.close()

    async def _execute(self, statement: str, database: str = DATABASE, others: str | None = None) -> None:
        connection = await asyncpg.connect(self._postgres.database_url(database), timeout=10)
        try:
            await connection.fetch(OTHERS, others, 0)
            await connection.execute(statement)
        finally:
            await connection.close()
