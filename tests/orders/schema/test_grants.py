"""The role that runs Relais owns nothing, and can change nothing that is to stay as it is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Table

from config.embedded.postgres import Postgres
from config.journal_roles import PROCESSES
from config.settings import Settings
from config.settings.sources import with_password
from orders.errors import NotSo
from orders.schema.grants import PRIVILEGES
from orders.schema.migrate import migrate
from orders.schema.rights import RIGHTS, rights
from orders.schema.roles import REVISION, verifier
from orders.schema.tables.common import metadata
from orders.schema.triggers import APPEND_ONLY
from tests.cli import CommandLine, environment
from tests.journal import execute
from tests.machines.journals import Journals
from tests.machines.tools import ROOT

ROLE = "relais_role_of_a_test"
DELETED = [table for table in RIGHTS if "DELETE" in rights(table, PROCESSES)]
PASSWORD = "it's a \\ p@ss:word/%41"
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module")
def owner_url(postgres: Postgres, journals: Journals) -> Iterator[str]:
    """A journal that the tests of this module share: nothing can be changed in it."""
    name = journals.bare()
    yield postgres.database_url(name)
    journals.give_back(name)
    asyncio.run(execute(postgres.database_url("postgres"), f"DROP ROLE {ROLE}"))


@pytest.fixture(scope="module")
def app_url(postgres: Postgres, owner_url: str) -> str:
    """The same as a role that may use it."""
    address = f"postgresql://{ROLE}@127.0.0.1:{postgres.port}/{owner_url.rpartition('/')[2]}"
    url = with_password(address, PASSWORD)
    migrate(owner_url, used_by=url)
    return url


def refused(url: str, *statements: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        asyncio.run(execute(url, *statements))


def test_every_table_says_who_may_do_what_with_it() -> None:
    """A new table needs a line of its own in `orders.schema.rights`."""
    assert {table.name for table in RIGHTS} == {table.name for table in metadata.sorted_tables}
    for table, processes in RIGHTS.items():
        assert processes, table.name
        for process in processes:
            assert process in PROCESSES, (table.name, process)
            held = rights(table, (process,))
            named = {column for columns in held.values() for column in columns} - {"ctid"}
            assert named <= set(table.columns.keys()), table.name
            assert "SELECT" in held, (table.name, process)
            if table in APPEND_ONLY:
                assert "UPDATE" not in held, (table.name, process)


def test_every_table_and_every_privilege(app_url: str, owner_url: str, run: Run) -> None:
    """One role for all has what each of them needs."""
    names = run(execute(owner_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
    tables = {row["tablename"] for row in names}
    assert tables == {table.name for table in metadata.sorted_tables} | {REVISION}
    asked = ", ".join(f"('{name}', '{right}')" for name in sorted(tables) for right in (*PRIVILEGES, "MAINTAIN"))
    query = (
        f"SELECT t, p, has_table_privilege('{ROLE}', t, p) OR p IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') "
        f"AND has_any_column_privilege('{ROLE}', t, p) AS held FROM (VALUES {asked}) AS asked (t, p)"
    )
    held: dict[str, set[str]] = {name: set() for name in tables}
    for row in run(execute(owner_url, query)):
        if row["held"]:
            held[row["t"]].add(row["p"])
    assert held.pop(REVISION) == {"SELECT"}
    assert held == {table.name: set(rights(table, PROCESSES)) for table in metadata.sorted_tables}
    gone = {
        "asides",
        "webhooks",
        "tallies",
        "workers",
        "processes",
        "console_sessions",
        "console_logins",
        "samples",
        "cause_tallies",
    }
    assert {name for name, found in held.items() if "DELETE" in found} == gone
    written_by_triggers = {"events", "changes", "notices", "causes", "cause_tallies"}
    assert {name for name, found in held.items() if "INSERT" not in found} == written_by_triggers


def test_the_role_can_neither_undo_nor_remake_any_table(app_url: str, run: Run) -> None:
    async def through() -> None:
        connection = await asyncpg.connect(app_url)
        try:
            for table in metadata.sorted_tables:
                for act in forbidden(table):
                    with pytest.raises(asyncpg.InsufficientPrivilegeError):
                        await connection.execute(act)
            await connection.execute("GRANT UPDATE ON orders TO PUBLIC")  # PostgreSQL warns, and grants nothing
            given = "SELECT FROM information_schema.table_privileges WHERE grantee = 'PUBLIC' AND table_name = 'orders'"
            assert await connection.fetch(given) == []
        finally:
            await connection.close()

    run(through())


def forbidden(table: Table) -> Iterator[str]:
    """Statements that the role must be refused."""
    name = table.name
    if table in APPEND_ONLY:
        column = next(each.name for each in table.columns if each.identity is None)
        yield f"UPDATE {name} SET {column} = {column}"
        yield f"SELECT * FROM {name} FOR UPDATE"
    if table not in DELETED:
        yield f"DELETE FROM {name}"
    yield f"TRUNCATE {name}"
    yield f"ALTER TABLE {name} ADD COLUMN x int"
    yield f"ALTER TABLE {name} DISABLE TRIGGER ALL"
    yield f"DROP TABLE {name}"
    yield f"CREATE TRIGGER mine BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION relais_event()"


@pytest.mark.parametrize(
    "act",
    [
        "CREATE TABLE mine (n int)",
        "CREATE TEMPORARY TABLE mine (n int)",
        "CREATE SCHEMA mine",
        "CREATE OR REPLACE FUNCTION relais_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE OR REPLACE FUNCTION relais_tx() RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
        "ALTER FUNCTION relais_tx() OWNER TO CURRENT_USER",
        "SET session_replication_role = replica",  # triggers off
        "SET ROLE relais",
        "CREATE ROLE another SUPERUSER",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "COPY orders TO PROGRAM 'true'",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT pg_read_file('/etc/passwd')",
        "ALTER SYSTEM SET fsync = off",
        f"UPDATE {REVISION} SET version_num = '0001'",
    ],
)
def test_the_role_makes_nothing_and_becomes_nobody(app_url: str, act: str) -> None:
    refused(app_url, act)


def test_again_changes_nothing_and_takes_back_what_was_given_meanwhile(app_url: str, owner_url: str, run: Run) -> None:
    given = ("UPDATE (reference), DELETE ON orders", "EXECUTE ON FUNCTION lo_creat(int), pg_advisory_lock(bigint)")
    run(execute(owner_url, *(f"GRANT {each} TO {ROLE}" for each in given)))
    migrate(owner_url, used_by=app_url)
    refused(app_url, "SELECT lo_creat(0)")
    refused(app_url, "SELECT pg_advisory_lock(1)")
    refused(app_url, "DELETE FROM orders")
    refused(app_url, "UPDATE orders SET reference = ''")
    other = with_password(app_url, "another")
    migrate(owner_url, used_by=other)
    run(execute(other, "SELECT 1 FROM orders"))
    with pytest.raises(asyncpg.InvalidPasswordError):
        run(execute(app_url, "SELECT 1"))
    migrate(owner_url, used_by=app_url)


@pytest.mark.parametrize(
    ("too_much", "undo", "why"),
    [
        ("GRANT DELETE ON orders TO PUBLIC", "REVOKE DELETE ON orders FROM PUBLIC", "DELETE on orders"),
        (f"ALTER ROLE {ROLE} SUPERUSER", f"ALTER ROLE {ROLE} NOSUPERUSER", "superuser"),
        (f"GRANT relais TO {ROLE} WITH INHERIT FALSE", f"REVOKE relais FROM {ROLE}", "member of another"),
        (f"GRANT pg_read_server_files TO {ROLE}", f"REVOKE pg_read_server_files FROM {ROLE}", "member of another"),
        (f"ALTER ROLE {ROLE} CREATEDB", f"ALTER ROLE {ROLE} NOCREATEDB", "makes roles or databases"),
        (f"ALTER ROLE {ROLE} REPLICATION", f"ALTER ROLE {ROLE} NOREPLICATION", "replicates"),
        (
            f"ALTER FUNCTION relais_tx() OWNER TO {ROLE}",
            "ALTER FUNCTION relais_tx() OWNER TO relais",
            "owns something",
        ),
        (f"ALTER TABLE events OWNER TO {ROLE}", "ALTER TABLE events OWNER TO relais", "owns"),
    ],
)
def test_a_role_that_can_do_more_by_other_ways_is_not_put_up_with(
    app_url: str, owner_url: str, too_much: str, undo: str, why: str, run: Run
) -> None:
    run(execute(owner_url, too_much))
    with pytest.raises(NotSo, match=why):
        migrate(owner_url, used_by=app_url)
    run(execute(owner_url, undo))
    migrate(owner_url, used_by=app_url)


def test_what_the_role_sets_for_itself_to_last_is_reset_and_told(
    app_url: str, owner_url: str, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    database = owner_url.rpartition("/")[2]
    run(execute(app_url, "ALTER ROLE CURRENT_USER SET synchronous_commit = off"))
    run(execute(app_url, f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET statement_timeout = '1ms'"))
    migrate(owner_url, used_by=app_url)
    told = [record.__dict__["settings"] for record in caplog.records if "were reset" in record.message]
    assert told == ["synchronous_commit=off", "statement_timeout=1ms"]
    ((mode,),) = run(execute(app_url, "SHOW synchronous_commit"))
    ((left,),) = run(execute(owner_url, f"SELECT count(*) FROM pg_db_role_setting WHERE setrole = '{ROLE}'::regrole"))
    assert (mode, left) == ("on", 0)


def test_relais_migrate_grants_as_the_owner(
    app_url: str, owner_url: str, settings: Settings, capsys: pytest.CaptureFixture[str], run: Run
) -> None:
    run(execute(owner_url, f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {ROLE}"))
    bare = app_url.replace(app_url.split("@")[0], f"postgresql://{ROLE}")
    env = {**environment(settings), "RELAIS_DATABASE_URL": bare, "RELAIS_DATABASE_PASSWORD": PASSWORD}
    relais = CommandLine(capsys, env)
    assert relais("backlog").code == 2
    assert relais("admin", "migrate", RELAIS_OWNER_URL=owner_url).code == 0
    assert relais("backlog").code == 0
    done = relais("admin", "migrate")
    assert (done.code, "refused" in done.err, PASSWORD in done.err) == (0, False, False), "nothing to do, as anybody"


def test_an_owner_need_be_no_superuser(postgres: Postgres, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """As docs/deployment.md has it: an owner that may make roles, of a database of its own."""
    server, place = postgres.database_url("postgres"), f"127.0.0.1:{postgres.port}/t_modest"
    owner, app = f"postgresql://modest_owner:o@{place}", f"postgresql://modest_app:a@{place}"
    run(execute(server, "CREATE ROLE modest_owner LOGIN CREATEROLE PASSWORD 'o'"))
    run(execute(server, "CREATE DATABASE t_modest OWNER modest_owner"))
    try:
        for _ in range(2):
            migrate(owner, used_by=app)
        run(execute(app, "SELECT 1 FROM orders"))
        refused(app, "DELETE FROM orders")
        assert (
            "the role may make large objects and take others' locks, which only a superuser can forbid"
            in caplog.messages
        )
        run(execute(server, "ALTER ROLE modest_app SET log_statement = 'all'"))
        with pytest.raises(NotSo, match="not the owner's to reset, log_statement=all"):
            migrate(owner, used_by=app)
    finally:
        drops = ("DATABASE IF EXISTS t_modest", "ROLE IF EXISTS modest_app", "ROLE modest_owner")
        run(execute(server, *(f"DROP {each}" for each in drops)))


def test_what_deletes_has_the_right_to() -> None:
    """A statement of ours that deletes from a table names one of those whose rows go."""
    found = set()
    for path in [*ROOT.glob("orders/**/*.py"), *ROOT.glob("workers/**/*.py")]:
        if "migrations" not in path.parts and not path.name.startswith("spool"):
            found |= {
                one or two for one, two in re.findall(r"DELETE FROM (\w+)|(?<![.\w])delete\((\w+)\)", path.read_text())
            }
    assert found == {table.name for table in DELETED}


def test_a_password_beyond_ascii_is_refused_in_words() -> None:
    with pytest.raises(NotSo, match="ASCII"):
        verifier("pässword")
