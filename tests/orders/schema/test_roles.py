"""What each process could do to the journal with its own login, and what PostgreSQL refuses it: docs/proof.md."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from config.embedded.postgres import Postgres
from config.journal_roles import PROCESSES, role_of, url_as
from config.settings import Settings
from orders.audit_codes import AuditCode
from orders.journal import connect
from orders.schema.acts import CALLS, FORWARDED
from orders.schema.cause_triggers import FUNCTIONS
from orders.schema.migrate import migrate
from orders.schema.rights import RIGHTS, rights
from orders.schema.roles import JournalRole, script
from orders.sentences import Sentence
from orders.states import State
from tests.journal import execute
from tests.machines.journals import Journals
from workers.proof.audit import prove

Run = Callable[[Coroutine[Any, Any, Any]], Any]

ORDER = "'0199a2b4-7c11-7def-8abc-0123456789ab'"
SEED = (
    "INSERT INTO backends (name, \"window\", quarantined) VALUES ('erp', 1, true)",
    f"INSERT INTO orders (id, pharmacy, reference, body, digest, client) VALUES ({ORDER}, 'P1', 'r', 'b', 'd', 'c')",
    "INSERT INTO deliveries (order_id, state, backend, priority, cut_off) "
    f"VALUES ({ORDER}, 'delivering', 'erp', 1, 'infinity')",
    "INSERT INTO accounts (name, role, password) VALUES ('alice', 'approver', 'x')",
    "INSERT INTO operations (operator, act, detail) VALUES ('alice', 'pause', '{}')",
    "INSERT INTO receipt_keys (backend, key_id, public) VALUES ('erp', 'k1', decode(repeat('ab', 32), 'hex'))",
    "INSERT INTO clients (name) VALUES ('front')",
    "INSERT INTO keys (fingerprint, hash, client, scopes) VALUES ('f', 'h', 'front', '{}')",
)


def recording(statement: str, act: str = "x", **detail: str) -> str:
    """The statement, with an act in its transaction."""
    told = json.dumps(detail)
    return f"WITH r AS (INSERT INTO operations (operator, act, detail) VALUES ('alice', '{act}', '{told}')) {statement}"


ACCOUNT = "INSERT INTO accounts (name, role) VALUES ('mallory', 'approver')"
PROMOTED = "UPDATE accounts SET role = 'approver'"
PASSWORD = "UPDATE accounts SET password = 'mine'"
CLIENT = "INSERT INTO clients (name) VALUES ('mallory')"
KEY = "INSERT INTO keys (fingerprint, hash, client, scopes) VALUES ('g', 'h', 'front', '{}')"
OPENED = "UPDATE keys SET scopes = '{ops}'"
TRUSTED = "INSERT INTO receipt_keys (backend, key_id, public) VALUES ('erp', 'k2', 'x')"
REVIVED = "UPDATE receipt_keys SET revoked_at = NULL"
# An act, and the processes whose role may do it: everybody else is refused.
ACTS: dict[str, set[str]] = {
    # to make orders, and to say what became of them
    "INSERT INTO orders (id, pharmacy, reference, body, digest, client) VALUES "
    "(gen_random_uuid(), 'P', 'r', '', '', 'c')": {"api", "worker", "ops"},
    "INSERT INTO orders (id, pharmacy, reference, body, digest, client, tx) VALUES "
    "(gen_random_uuid(), 'P', 'r', '', '', 'c', 1)": set(),
    f"UPDATE deliveries SET state = 'delivered' WHERE order_id = {ORDER}": {"worker"},
    "INSERT INTO deliveries (order_id, state, backend, priority, cut_off) "
    "VALUES (gen_random_uuid(), 'delivered', 'erp', 1, 'infinity')": {"worker"},
    f"UPDATE deliveries SET state = 'accepted' WHERE order_id = {ORDER}": {"worker"},
    f"UPDATE deliveries SET backend = 'mine' WHERE order_id = {ORDER}": set(),
    f"UPDATE deliveries SET accepted_at = now() WHERE order_id = {ORDER}": set(),
    "INSERT INTO receipts (order_id, lease, backend, reference, lines) VALUES "
    f"({ORDER}, gen_random_uuid(), 'erp', 'E', '[]')": {"worker"},
    "INSERT INTO attempts (order_id, lease, started_at, ended_at, outcome, detail, worker) VALUES "
    f"({ORDER}, gen_random_uuid(), now(), now(), 'accepted', '', 'w')": {"worker"},
    "INSERT INTO evidence (backend, lease, kind, conclusive, detail) VALUES "
    "('erp', gen_random_uuid(), 'refusals', true, '')": {"worker"},
    f"INSERT INTO events (order_id, state) VALUES ({ORDER}, 'delivered')": set(),
    f"INSERT INTO notices (id, event_id, order_id, client) VALUES (gen_random_uuid(), 1, {ORDER}, 'front')": set(),
    # to trust
    "UPDATE backends SET quarantined = false WHERE name = 'erp'": set(),
    "SELECT relais_release('erp', 'alice', 'why', '{}')": {"console", "ops"},
    "SELECT relais_quarantine('erp', 'relais', NULL)": {"worker"},
    recording("SELECT relais_quarantine('erp', 'relais', NULL)", "quarantine", backend="erp"): {
        "worker",
        "console",
        "ops",
    },
    "UPDATE backends SET paused = true WHERE name = 'erp'": set(),
    recording("UPDATE backends SET paused = true WHERE name = 'erp'", "pause", backend="erp"): {"console", "ops"},
    "UPDATE backends SET circuit = 'closed' WHERE name = 'erp'": {"worker"},
    f"SELECT relais_cancel({ORDER}, 'front', 'r')": {"api"},
    **{each: set() for each in (ACCOUNT, PROMOTED, PASSWORD, CLIENT, KEY, OPENED, TRUSTED, REVIVED)},
    **{recording(each): set() for each in (ACCOUNT, PROMOTED, PASSWORD, CLIENT, KEY, OPENED, TRUSTED, REVIVED)},
    recording(ACCOUNT, "account add", account="alice"): set(),
    recording(ACCOUNT, "client add", client="mallory", account="mallory"): set(),
    recording(ACCOUNT, "account add", account="mallory"): {"ops"},
    recording(PROMOTED, "account role", account="mallory"): set(),
    recording(PROMOTED, "account role", account="alice"): {"ops"},
    recording(PASSWORD, "account password", account="bob"): set(),
    recording(PASSWORD, "account password", account="alice"): {"console", "ops"},
    recording(TRUSTED, "key add", backend="erp"): set(),
    recording(TRUSTED, "key add", backend="erp", key="k1"): set(),
    recording(TRUSTED, "key add", backend="erp", key="k2"): {"ops"},
    recording(REVIVED, "key revoke", backend="other"): set(),
    recording(REVIVED, "key revoke", backend="erp"): {"ops"},
    recording("UPDATE receipt_keys SET public = 'x'", "key add", backend="erp", key="k1"): set(),
    recording(CLIENT, "client add", client="front"): set(),
    recording(CLIENT, "client add", client="mallory"): {"ops"},
    recording(KEY, "client rotate", client="other"): set(),
    recording(KEY, "client rotate", client="front"): {"ops"},
    recording(OPENED, "client change", client="front"): {"ops"},
    "UPDATE keys SET last_used_at = now()": {"api"},
    "UPDATE keys SET hash = 'mine'": set(),
    # to prove
    "INSERT INTO seals VALUES (9, 3, 0, 0, 9, '{}', now(), NULL, 'p', 'm', 'k', 's')": {"worker", "ops"},
    "INSERT INTO changes (source, content) VALUES ('accounts', '{}')": set(),
    "INSERT INTO operations (operator, act, detail) VALUES ('alice', 'x', '{}')": {"worker", "console", "audit", "ops"},
    "INSERT INTO operations (operator, act, detail, at) VALUES ('alice', 'x', '{}', '2020-01-01')": set(),
    "INSERT INTO tallies (name, label, n) VALUES ('fate', 'delivered', 1)": {"worker"},
    # to know
    "SELECT body FROM orders": {"api", "worker", "console", "audit", "ops"},
    "SELECT password FROM accounts": {"console", "ops"},
    "SELECT digest FROM console_sessions": {"console", "ops"},
    "SELECT secret FROM console_secrets": {"console"},
    "SELECT hash FROM keys": {"api", "ops"},
    "SELECT secrets FROM webhooks": {"worker", "ops"},
    # to stand in the way
    "SELECT pg_try_advisory_lock(1)": {"worker"},
    "SELECT pg_advisory_lock(1)": set(),
    "SELECT pg_try_advisory_lock(1, 1)": {"worker"},
    "SELECT pg_advisory_lock_shared(1)": set(),
    "SELECT pg_try_advisory_lock_shared(1, 1)": {"worker"},
    "SELECT pg_try_advisory_xact_lock(1, 1)": {"worker", "console", "ops"},  # whoever latches a quarantine
    "SELECT lo_create(0)": set(),
    "CREATE TEMPORARY TABLE mine (n int)": set(),
    "CREATE TABLE public.mine (n int)": set(),
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'relais'": set(),
    "SET ROLE relais": set(),
    "TRUNCATE deliveries": set(),
    "DELETE FROM orders": set(),
}


@pytest.fixture(scope="module")
def logins(postgres: Postgres, journals: Journals) -> Iterator[dict[str, str]]:
    """A journal that the tests of this module share, as each process comes to it; `relais` is its owner."""
    name = journals.bare()
    owner = postgres.database_url(name)
    passwords = {process: f"of {process}" for process in PROCESSES}
    migrate(owner, passwords=passwords)
    asyncio.run(execute(owner, *SEED))
    yield {"relais": owner, **{each: url_as(owner, each, password) for each, password in passwords.items()}}
    journals.give_back(name)
    asyncio.run(execute(postgres.url, *(f"DROP ROLE {role_of(name, each)}" for each in PROCESSES)))


async def at_once(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def may(connection: Any, act: str) -> bool:
    """Whether PostgreSQL lets it pass, to its commit; undone."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.fetch(act)
        await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except asyncpg.InsufficientPrivilegeError:
        return False
    except asyncpg.RestrictViolationError:
        return False  # the table keeps what it has, whoever asks
    finally:
        await transaction.rollback()
    return True


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_may_do_what_it_needs_and_no_other_act(logins: dict[str, str], process: str, run: Run) -> None:
    async def tried() -> dict[str, bool]:
        connection = await asyncpg.connect(logins[process])
        try:
            return {act: await may(connection, act) for act in ACTS}
        finally:
            await connection.close()

    assert run(tried()) == {act: process in who for act, who in ACTS.items()}


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_has_its_rights_and_no_others(logins: dict[str, str], process: str, run: Run) -> None:
    """Asked of PostgreSQL, for every table, column and privilege."""
    query = """
    SELECT c.relname AS name, a.attname AS column, p AS privilege
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      CROSS JOIN unnest('{SELECT,INSERT,UPDATE,REFERENCES}'::text[]) p
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> 'alembic_version'
      AND has_column_privilege(c.oid, a.attnum, p)
    UNION ALL SELECT relname, '', p FROM pg_class CROSS JOIN unnest('{DELETE,TRUNCATE,TRIGGER,MAINTAIN}'::text[]) p
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND has_table_privilege(oid, p)"""
    held = {(row["name"], row["column"], row["privilege"]) for row in run(execute(logins[process], query))}
    assert held == {
        (table.name, "" if privilege == "DELETE" else column, privilege)
        for table in RIGHTS
        for privilege, columns in rights(table, (process,)).items()
        for column in columns - {"ctid"}
    }


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_may_call_its_functions_and_no_others(logins: dict[str, str], process: str, run: Run) -> None:
    """Nor what triggers call: on a table of one's own it would write in the owner's name."""
    query = """
    SELECT oid::regprocedure::text FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND has_function_privilege(oid, 'EXECUTE')"""
    found = {row[0].replace(" ", "") for row in run(execute(logins[process], query))}
    every = {"relais_tx()", "relais_tx_floor()", "relais_tx_ceiling()", *FUNCTIONS}
    assert found == {
        call.replace(" ", "") for call in (*every, *(call for call, who in CALLS.items() if process in who))
    }


def test_what_a_stolen_login_of_the_worker_forges_is_a_fault_where_receipts_must_be_signed(
    logins: dict[str, str], run: Run
) -> None:
    """An order that nobody placed and no ERP saw, delivered with attempt and receipt: the audit reads it as itself."""
    forged = "'0199a2b4-7c11-7def-8abc-0123456789ff'"

    async def faults() -> list[str]:
        engine = connect(logins["audit"])
        try:
            settings = Settings(database_url=logins["audit"], receipts="require", _env_file=None)
            return [str(fault) for fault in (await prove(engine, settings)).ledger.faults]
        finally:
            await engine.dispose()

    before = run(faults())
    moved = (
        f"UPDATE deliveries SET state = '{state}' WHERE order_id = {forged}" for state in (*FORWARDED[:2], "delivered")
    )
    run(
        execute(
            logins["worker"],
            "INSERT INTO orders (id, pharmacy, reference, body, digest, client) "
            f"VALUES ({forged}, 'P1', 'forged', 'b', sha256('b'), 'c')",
            "INSERT INTO deliveries (order_id, state, backend, priority, cut_off) "
            f"VALUES ({forged}, 'accepted', 'erp', 1, 'infinity')",
            *moved,
            f"UPDATE deliveries SET settled_at = now() WHERE order_id = {forged}",
            "INSERT INTO receipts (order_id, lease, backend, reference, lines) "
            f"VALUES ({forged}, gen_random_uuid(), 'erp', 'E-9', '[]')",
        )
    )
    assert [fault for fault in run(faults()) if fault not in before] == [str(Sentence(AuditCode.UNSIGNED, count=1))]


def test_the_sql_for_a_dba_grants_what_migrate_grants(
    postgres: Postgres, journals: Journals, logins: dict[str, str], run: Run
) -> None:
    """Run by a superuser in a journal whose tables alone were made."""
    name = journals.bare()
    owner, known = postgres.database_url(name), logins["relais"].rpartition("/")[2]
    acls = """
    SELECT relname, relacl FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    UNION ALL SELECT concat(attrelid::regclass, '.', attname), attacl FROM pg_attribute WHERE attacl IS NOT NULL
    UNION ALL SELECT p.oid::regprocedure::text, proacl FROM pg_proc p WHERE proname ~ '^(relais_|pg_.*advisory|lo_)'"""
    asked = f"""
    SELECT name, array(SELECT replace(x::text, current_database(), '') FROM unnest(acl) x ORDER BY 1)
    FROM ({acls}) found (name, acl) ORDER BY name"""
    roles = [JournalRole(role_of(name, each), f"of {each}", (each,)) for each in PROCESSES]
    try:
        run(at_once(owner, script(name, roles)))
        assert run(execute(owner, asked)) == run(execute(postgres.database_url(known), asked))
        run(execute(url_as(owner, "api", "of api"), "SELECT 1 FROM orders"))
    finally:
        journals.give_back(name)
        run(execute(postgres.url, *(f"DROP ROLE {each.name}" for each in roles)))


def test_the_sql_for_a_dba_is_run_after_every_upgrade(postgres: Postgres, run: Run) -> None:
    """By a superuser, in a journal whose owner may migrate it as before, and makes no roles."""
    name = "t_of_a_dba"
    above, owner = postgres.database_url(name), f"postgresql://plain_owner:o@127.0.0.1:{postgres.port}/{name}"
    roles = [JournalRole(role_of(name, each), f"of {each}", (each,)) for each in PROCESSES]
    run(execute(postgres.url, "CREATE ROLE plain_owner LOGIN PASSWORD 'o'"))
    run(execute(postgres.url, f"CREATE DATABASE {name} OWNER plain_owner"))
    try:
        for password in ("first", "second"):
            migrate(owner)
            run(at_once(above, script(name, [replace(each, password=password) for each in roles])))
            run(execute(url_as(owner, "worker", password), "SELECT 1 FROM orders", "SELECT pg_try_advisory_lock(1)"))
    finally:
        run(execute(postgres.url, f"DROP DATABASE {name}"))
        run(execute(postgres.url, *(f"DROP ROLE {each}" for each in ("plain_owner", *(role.name for role in roles)))))


def test_who_is_a_process_gets_no_more_than_it_where_there_is_no_folder(logins: dict[str, str], run: Run) -> None:
    """A migration with the URL of one of the roles does not make it the role of all."""
    migrate(logins["relais"], used_by=logins["exporter"])
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        run(execute(logins["exporter"], "SELECT body FROM orders"))


def test_a_worker_alone_says_that_an_order_is_on_its_way_to_the_erp_or_there() -> None:
    assert {*FORWARDED} == {*State} - {State.ACCEPTED, State.DEAD, State.CANCELLED, State.DISCARDED}
