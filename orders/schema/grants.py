"""What Relais's processes may do in the journal: the grants of roles that own nothing, made by `relais admin migrate`.

A role may be that of one process, or of all (`orders.schema.roles`). It can make, alter
and drop nothing, hence not disable a trigger either, take no lock of another's, and what anybody set for it to last is
reset. At the end PostgreSQL itself is asked what the role may do, by whatever way (PUBLIC, a membership, an
attribute): more than that, and the whole migration is undone.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from orders.errors import NotSo
from orders.journal.connection import log
from orders.schema.rights import rights
from orders.schema.roles import GUARDED, REVISION, JournalRole, locks, quote, statements, verifier
from orders.schema.tables.common import metadata

PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

ROLE: Final = text("""
SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS mighty
FROM pg_roles WHERE rolname = :role
""")
MAKER: Final = text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
DATABASE: Final = text("SELECT current_database()")
# By column where a privilege is one of columns, so that a right to one shows which.
HELD: Final = text("""
SELECT c.relname AS name, a.attname AS column, p.privilege
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
  unnest(CAST(:privileges AS text[])) AS p(privilege)
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
  AND CASE WHEN p.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
    THEN has_column_privilege(:role, c.oid, a.attnum, p.privilege)
    ELSE has_table_privilege(:role, c.oid, p.privilege) END
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
OPEN_TO_ALL: Final = text(f"""{GUARDED}
  AND CAST(p.oid AS regprocedure) <> ALL (CAST(:needed AS regprocedure[]))
  AND has_function_privilege(CAST(:role AS name), p.oid, 'EXECUTE')
""")
SUPERUSER: Final = text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")


def grant(connection: Connection, role: JournalRole) -> None:
    """Let a role use the journal as its processes need, and no more; made, with its password, when there is none.

    Run by the journal's owner, after the migrations and in their transaction. NotSo when the role can do more than it
    should in a way that is not ours to take from it.
    """
    _ensure(connection, role.name, role.password)
    _reset(connection, role.name)
    for statement in statements(connection.execute(DATABASE).scalar_one(), role):
        connection.exec_driver_sql(statement)
    _shut(connection, role)
    _verify(connection, role)


def _ensure(connection: Connection, role: str, password: str | None) -> None:
    """The role is there and, where the owner may say so, has this password."""
    found = connection.execute(ROLE, {"role": role}).one_or_none()
    if found is not None and found.mighty:
        raise NotSo(
            f"role {role} is a superuser, makes roles or databases, replicates or bypasses security: not for Relais"
        )
    name = quote(role)
    secret = f" PASSWORD '{verifier(password)}'" if password is not None else ""
    if found is None:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN{secret}")
    elif secret and connection.execute(MAKER).scalar_one():
        connection.exec_driver_sql(f"ALTER ROLE {name} LOGIN{secret}")


def _reset(connection: Connection, role: str) -> None:
    """Nothing is set for the role that lasts. NotSo where it is not the owner's to reset."""
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


def _shut(connection: Connection, role: JournalRole) -> None:
    """Nobody but the superuser makes large objects, in this database, or takes a lock that is not its own; an owner
    that is none can only say that the role may.
    """
    needed = locks(role)
    values = {"role": role.name, "needed": needed}
    allowed = [row.function for row in connection.execute(OPEN_TO_ALL, values)]
    if connection.execute(SUPERUSER).scalar_one():
        name = quote(role.name)
        for function in allowed:
            connection.exec_driver_sql(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC, {name}")
        for lock in needed:
            connection.exec_driver_sql(f"REVOKE EXECUTE ON FUNCTION {lock} FROM PUBLIC")
            connection.exec_driver_sql(f"GRANT EXECUTE ON FUNCTION {lock} TO {name}")
        if left := connection.execute(OPEN_TO_ALL, values).scalars().all():
            raise NotSo(f"role {role.name} may still call {left[0]}: take away what gives it that, then migrate again")
    elif allowed:
        log.warning(
            "the role may make large objects and take others' locks, which only a superuser can forbid",
            extra={"role": role.name},
        )


def _verify(connection: Connection, role: JournalRole) -> None:
    rows = connection.execute(HELD, {"role": role.name, "privileges": list(PRIVILEGES)})
    held = {(row.name, row.column, row.privilege) for row in rows if (row.name, row.privilege) != (REVISION, "SELECT")}
    wanted = {
        (table.name, column, privilege)
        for table in metadata.sorted_tables
        for privilege, columns in rights(table, role.processes).items()
        for column in columns
    }
    if surplus := sorted({(name, right) for name, _, right in held - wanted}):
        listed = ", ".join(f"{right} on {name}" for name, right in surplus[:5])
        raise NotSo(f"role {role.name} may still {listed}: take away what gives it that, then migrate again")
    if connection.execute(BEYOND, {"role": role.name}).scalar_one():
        raise NotSo(f"role {role.name} owns something, is a member of another or may create: it must not run Relais")
