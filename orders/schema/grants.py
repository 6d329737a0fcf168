"""What Relais's processes may do in the journal: grants of a role that owns nothing, made by `relais admin migrate`.

They are derived from the metadata: of an append-only table read and add, of any other also change, and take a row out
only where that is part of its life. The role can make, alter and drop nothing, hence not disable a trigger either, and
what anybody set for it to last is reset. At the end PostgreSQL itself is asked what the role may do, by whatever way
(PUBLIC, a membership, an attribute): more than that, and the whole migration is undone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from typing import Final

from sqlalchemy import URL, Connection, Table, text
from sqlalchemy.exc import DBAPIError

from orders.errors import NotSo
from orders.journal.connection import log
from orders.schema.cause_triggers import FUNCTIONS
from orders.schema.epochs import functions
from orders.schema.tables.causes import cause_tallies
from orders.schema.tables.clients import asides, webhooks
from orders.schema.tables.console import console_logins, console_sessions
from orders.schema.tables.core import metadata
from orders.schema.tables.samples import samples
from orders.schema.tables.tallies import tallies
from orders.schema.tables.trust import changes
from orders.schema.tables.workers import processes, workers
from orders.schema.triggers import APPEND_ONLY

# Rows that go; every other table keeps what it has.
DELETED: Final = (
    webhooks,
    asides,
    tallies,
    workers,
    processes,
    console_sessions,
    console_logins,
    samples,
    cause_tallies,
)
PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
REVISION: Final = "alembic_version"
ROUNDS: Final = 4096  # of SCRAM, PostgreSQL's own default

ROLE: Final = text("""
SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS mighty
FROM pg_roles WHERE rolname = :role
""")
MAKER: Final = text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
DATABASE: Final = text("SELECT current_database()")
HELD: Final = text("""
SELECT c.relname AS name, p.privilege FROM pg_class c, unnest(CAST(:privileges AS text[])) AS p(privilege)
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
  AND (has_table_privilege(:role, c.oid, p.privilege)
    OR p.privilege IN ('INSERT', 'UPDATE', 'REFERENCES') AND has_any_column_privilege(:role, c.oid, p.privilege))
""")
BEYOND: Final = text("""
SELECT has_schema_privilege(:role, 'public', 'CREATE') OR has_database_privilege(:role, current_database(), 'CREATE')
  OR EXISTS (SELECT FROM pg_auth_members WHERE member = CAST(quote_ident(:role) AS regrole))
  OR EXISTS (SELECT FROM pg_class WHERE pg_get_userbyid(relowner) = :role)
  OR EXISTS (SELECT FROM pg_proc WHERE pg_get_userbyid(proowner) = :role)
""")
# What stays with a role from one log-in to the next: any role may set it for itself.
LASTING: Final = text("""
SELECT s.setdatabase <> 0 AS here, array_to_string(s.setconfig, ', ') AS settings FROM pg_db_role_setting s
WHERE s.setrole = CAST(quote_ident(:role) AS regrole) AND (s.setdatabase = 0
  OR s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())) ORDER BY here
""")
# Large objects belong to who makes them, and fill the disk beside every table.
LARGE_OBJECTS: Final = text("""
SELECT CAST(p.oid AS regprocedure) FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
  AND p.proname ~ '^(lo_.*|loread|lowrite)$' AND has_function_privilege(CAST(:role AS name), p.oid, 'EXECUTE')
""")
SUPERUSER: Final = text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")


def rights(table: Table) -> frozenset[str]:
    """What the role may do with a table of the journal."""
    if table is changes:
        return frozenset({"SELECT"})  # triggers write it, as its owner
    change = set() if table in APPEND_ONLY else {"UPDATE"}
    return frozenset({"SELECT", "INSERT"} | change | ({"DELETE"} if table in DELETED else set()))


def grant(connection: Connection, user: URL) -> None:
    """Let the user of this URL use the journal, and no more; made, with the URL's password, when there is none.

    Run by the journal's owner, after the migrations and in their transaction. NotSo when the role can do more than it
    should in a way that is not ours to take from it.
    """
    role = user.username or ""
    _ensure(connection, role, user.password)
    _reset(connection, role)
    for statement in statements(connection, role):
        connection.exec_driver_sql(statement)
    _forbid_large_objects(connection, role)
    _verify(connection, role)


def statements(connection: Connection, role: str) -> list[str]:
    """DDL that takes everything from the role and gives it what it needs."""
    quote = connection.dialect.identifier_preparer.quote
    name, database = quote(role), quote(connection.execute(DATABASE).scalar_one())
    takes = [f"REVOKE ALL ON ALL {kind} IN SCHEMA public FROM {name}" for kind in ("TABLES", "SEQUENCES", "FUNCTIONS")]
    gives = [
        f"GRANT {', '.join(sorted(rights(table)))} ON {quote(table.name)} TO {name}" for table in metadata.sorted_tables
    ]
    calls = [each.split("FUNCTION ")[1].split(" RETURNS")[0] for each in functions(0)]
    calls += FUNCTIONS
    return [
        f"REVOKE CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC, {name}",
        f"GRANT CONNECT ON DATABASE {database} TO {name}",
        f"REVOKE CREATE ON SCHEMA public FROM PUBLIC, {name}",
        f"GRANT USAGE ON SCHEMA public TO {name}",
        *takes,
        *gives,
        *(f"GRANT EXECUTE ON FUNCTION {call} TO {name}" for call in calls),
        f"GRANT SELECT ON {REVISION} TO {name}",
    ]


def _ensure(connection: Connection, role: str, password: str | None) -> None:
    """The role is there and, where the owner may say so, has this password."""
    found = connection.execute(ROLE, {"role": role}).one_or_none()
    if found is not None and found.mighty:
        raise NotSo(
            f"role {role} is a superuser, makes roles or databases, replicates or bypasses security: not for Relais"
        )
    name = connection.dialect.identifier_preparer.quote(role)
    secret = f" PASSWORD '{verifier(password)}'" if password is not None else ""
    if found is None:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN{secret}")
    elif secret and connection.execute(MAKER).scalar_one():
        connection.exec_driver_sql(f"ALTER ROLE {name} LOGIN{secret}")


def _reset(connection: Connection, role: str) -> None:
    """Nothing is set for the role that lasts. NotSo where it is not the owner's to reset."""
    quote = connection.dialect.identifier_preparer.quote
    name, database = quote(role), quote(connection.execute(DATABASE).scalar_one())
    for row in connection.execute(LASTING, {"role": role}).all():
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(
                    f"ALTER ROLE {name}{f' IN DATABASE {database}' if row.here else ''} RESET ALL"
                )
        except DBAPIError:
            break
        log.warning("the settings of the role were reset", extra={"role": role, "settings": row.settings})
    if left := connection.execute(LASTING, {"role": role}).first():
        raise NotSo(f"role {role} has settings that are not the owner's to reset, {left.settings}: reset them")


def _forbid_large_objects(connection: Connection, role: str) -> None:
    """Nobody but the superuser makes any, in this database; an owner that is none can only say that the role may."""
    allowed = [row[0] for row in connection.execute(LARGE_OBJECTS, {"role": role})]
    if connection.execute(SUPERUSER).scalar_one():
        for function in allowed:
            connection.exec_driver_sql(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
        if connection.execute(LARGE_OBJECTS, {"role": role}).first():
            raise NotSo(f"role {role} may still make large objects: take away what gives it that, then migrate again")
    elif allowed:
        log.warning("the role may make large objects, which only a superuser can forbid", extra={"role": role})


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


def _verify(connection: Connection, role: str) -> None:
    rows = connection.execute(HELD, {"role": role, "privileges": list(PRIVILEGES)})
    held = {(row.name, row.privilege) for row in rows}
    wanted = {(table.name, right) for table in metadata.sorted_tables for right in rights(table)}
    if surplus := sorted(held - wanted - {(REVISION, "SELECT")}):
        listed = ", ".join(f"{right} on {name}" for name, right in surplus[:5])
        raise NotSo(f"role {role} may still {listed}: take away what gives it that, then migrate again")
    if connection.execute(BEYOND, {"role": role}).scalar_one():
        raise NotSo(f"role {role} owns something, is a member of another or may create: it must not run Relais")
