"""A role of the journal as DDL: what it is granted, and the SQL for who makes the roles of a PostgreSQL himself.

`orders.schema.rights` says what each process needs of each table, `orders.schema.acts` which functions, and here which
locks; a role may be that of one process, or of all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from config.journal_roles import PROCESSES
from orders.errors import NotSo
from orders.schema.acts import CALLS
from orders.schema.cause_triggers import FUNCTIONS
from orders.schema.epochs import functions
from orders.schema.rights import rights
from orders.schema.tables.common import metadata

REVISION: Final = "alembic_version"
ROUNDS: Final = 4096  # of SCRAM, PostgreSQL's own default
quote: Final = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]

# Large objects belong to who makes them, and fill the disk beside every table; of a lock of two numbers, or of one,
# who has it is whoever was first.
GUARDED: Final = (
    "SELECT CAST(p.oid AS regprocedure) AS function FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace "
    "AND p.proname ~ '^(lo_.*|loread|lowrite|pg_(try_)?advisory_(xact_)?lock(_shared)?)$'"
)
SHUT: Final = f"""DO $$ DECLARE function regprocedure; BEGIN
FOR function IN {GUARDED} LOOP
  EXECUTE concat('REVOKE EXECUTE ON FUNCTION ', function, {{whose}});
END LOOP; END $$"""
# Whoever migrates is no superuser there, and takes one lock.
KEPT: Final = """DO $$ BEGIN
EXECUTE format('GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(integer, integer) TO %I',
  (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'orders'::regclass));
END $$"""
MADE: Final = """DO $$ BEGIN
IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal}) THEN EXECUTE format('CREATE ROLE %I', {literal}); END IF;
END $$"""
# PostgreSQL opens a function to all. Whoever had a table of his own could make what triggers call write for him.
CLOSED: Final = """DO $$ DECLARE function regprocedure; BEGIN
FOR function IN SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname ~ '^relais_' LOOP
  EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
END LOOP; END $$"""
# The locks that a process takes; one number is the leader's, and two are of what has a number: a worker, a barrier.
LOCKS: Final = {
    "worker": (
        "pg_try_advisory_lock(bigint)",
        "pg_try_advisory_xact_lock(bigint)",
        "pg_try_advisory_lock(integer,integer)",
        "pg_try_advisory_lock_shared(integer,integer)",
        "pg_try_advisory_xact_lock(integer,integer)",
    ),
    "console": ("pg_try_advisory_xact_lock(integer,integer)",),
    "ops": (
        "pg_try_advisory_xact_lock(integer,integer)",
        "pg_advisory_lock(integer,integer)",
        # An import of codes; `relais admin migrate`, which finds that nothing is to be done.
        "pg_advisory_xact_lock(integer,integer)",
    ),
}


@dataclass(frozen=True, slots=True)
class JournalRole:
    """A role to be granted to: what it is called, its password where we may give it one, and whose it is."""

    name: str
    password: str | None = None
    processes: tuple[str, ...] = PROCESSES


def statements(of: str, role: JournalRole) -> Iterator[str]:
    """DDL that takes everything in the database from the role and gives it what it needs there."""
    name, database = quote(role.name), quote(of)
    yield f"REVOKE CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC, {name}"
    yield f"GRANT CONNECT ON DATABASE {database} TO {name}"
    yield f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {name}"
    yield f"GRANT USAGE ON SCHEMA public TO {name}"
    for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"):
        yield f"REVOKE ALL ON ALL {kind} IN SCHEMA public FROM {name}"
    for table in metadata.sorted_tables:
        if given := [_given(privilege, columns, table) for privilege, columns in rights(table, role.processes).items()]:
            yield f"GRANT {', '.join(given)} ON {quote(table.name)} TO {name}"
    yield CLOSED
    yield f"GRANT EXECUTE ON FUNCTION {', '.join(_calls(role))} TO {name}"
    yield f"GRANT SELECT ON {REVISION} TO {name}"


def script(of: str, roles: Sequence[JournalRole]) -> str:
    """SQL, for a superuser, that does what `grant` does for these roles of a database, the first time and again."""
    made, granted = [], []
    for role in roles:
        name, secret = quote(role.name), f" PASSWORD '{verifier(role.password)}'" if role.password is not None else ""
        made += [MADE.format(literal=_literal(role.name)), f"ALTER ROLE {name} LOGIN{secret}"]
        made += [f"ALTER ROLE {name}{where} RESET ALL" for where in ("", f" IN DATABASE {quote(of)}")]
        granted += [*statements(of, role), *(f"GRANT EXECUTE ON FUNCTION {lock} TO {name}" for lock in locks(role))]
    shut = SHUT.format(whose=_literal(", ".join([" FROM PUBLIC", *(quote(role.name) for role in roles)])))
    return ";\n".join([*made, shut, *granted, KEPT]) + ";"


def locks(role: JournalRole) -> list[str]:
    """The functions of PostgreSQL by which it takes locks."""
    return sorted({lock for process in role.processes for lock in LOCKS.get(process, ())})


def _literal(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _given(privilege: str, columns: frozenset[str], table: Table) -> str:
    if privilege == "DELETE" or columns >= frozenset(table.columns.keys()):
        return privilege
    listed = '", "'.join(sorted(columns))
    return f'{privilege} ("{listed}")'


def _calls(role: JournalRole) -> list[str]:
    """The journal's functions that it may call."""
    calls = [each.split("FUNCTION ")[1].split(" RETURNS")[0] for each in functions(0)] + [*FUNCTIONS]
    return calls + [call for call, who in CALLS.items() if {*who} & {*role.processes}]


def verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (SCRAM-SHA-256, RFC 5803), so that no log of statements ever has it."""
    if not password.isascii():
        raise NotSo("a password that `relais admin migrate` gives to a role must be ASCII")
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(each).decode() for each in (salt, stored, server)]
    return f"SCRAM-SHA-256${ROUNDS}:{parts[0]}${parts[1]}:{parts[2]}"
