"""Accounts of the console, made and changed at the command line: each act is recorded in its own transaction.

A name is written in one way only, small ASCII letters, so that nobody passes for another, for Relais itself or for a
client in `operations`. Another role, another password and a disabling end the account's sessions.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import delete, insert, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import Fault, Malformed, NotFound, NotSo
from orders.journal import transactional
from orders.refusals import NotDone
from orders.schema.tables.console import accounts, console_sessions
from orders.sentences import Sentence
from workers.console.access.people import Role
from workers.operations import record

NAME: Final = re.compile(r"[a-z][a-z0-9._@-]{0,63}")
RESERVED: Final = frozenset({"relais", "client", "system", "unknown", "nobody"})

ACCOUNTS: Final = text("""
SELECT a.name, a.role, a.password IS NOT NULL AS password, a.subject, a.created_at, a.changed_at, a.disabled_at,
  (SELECT count(*) FROM console_sessions s WHERE s.account = a.name AND s.expires_at > now()
     AND s.seen_at > now() - make_interval(secs => :idle)) AS sessions,
  (SELECT max(s.seen_at) FROM console_sessions s WHERE s.account = a.name) AS seen_at
FROM accounts a ORDER BY a.name
""")
NOW: Final = text("clock_timestamp()")


async def add(
    engine: AsyncEngine,
    name: str,
    role: Role,
    *,
    password: str | None = None,
    subject: str | None = None,
    because: str | None = None,
) -> None:
    """Make an account. `password` is its hash, `subject` who it is at the identity provider; one of them at least.
    `because` is why, for the record, here and below.

    Raises Malformed and NotSo.
    """
    check_name(name)
    by = [way for way, given in (("password", password), ("oidc", subject)) if given]
    try:
        async with transactional(engine).begin() as connection:
            values = {"name": name, "role": role.value, "password": password, "subject": subject}
            await connection.execute(insert(accounts).values(values))
            await record(connection, "account add", because, {"account": name, "role": role.value, "by": by})
    except IntegrityError as error:
        taken = NotDone.SUBJECT_EXISTS if "subject" in str(error.orig) else NotDone.ACCOUNT_EXISTS
        raise NotSo(Sentence(taken, account=name)) from None


async def set_role(engine: AsyncEngine, name: str, role: Role, because: str | None = None) -> None:
    """Give an account another role, and end its sessions. Raises NotFound and NotSo."""
    async with _changing(engine, name) as (connection, was):
        if was.role == role:
            raise NotSo(Sentence(NotDone.SAME_ROLE, account=name, role=role.value))
        await _change(connection, "role", name, because, {"role": role.value}, {"was": was.role, "role": role.value})


async def set_password(engine: AsyncEngine, name: str, password: str, because: str | None = None) -> None:
    """Give an account another password, of which this is the hash, and end its sessions. Raises NotFound."""
    async with _changing(engine, name) as (connection, _):
        await _change(connection, "password", name, because, {"password": password, "changed_at": NOW})


async def disable(engine: AsyncEngine, name: str, because: str | None = None) -> None:
    """Let nobody in by an account any more, and end its sessions. Raises NotFound and NotSo."""
    async with _changing(engine, name) as (connection, was):
        if was.disabled_at is not None:
            raise NotSo(Sentence(NotDone.DISABLED_ALREADY, account=name))
        await _change(connection, "disable", name, because, {"disabled_at": NOW})


async def enable(engine: AsyncEngine, name: str, because: str | None = None) -> None:
    """Let an account in again, with the password that it had. Raises NotFound and NotSo."""
    async with _changing(engine, name) as (connection, was):
        if was.disabled_at is None:
            raise NotSo(Sentence(NotDone.NOT_DISABLED, account=name))
        await _change(connection, "enable", name, because, {"disabled_at": None})


async def logout(engine: AsyncEngine, name: str, because: str | None = None) -> None:
    """End the sessions of an account. Raises NotFound."""
    async with _changing(engine, name) as (connection, _):
        await _change(connection, "logout", name, because)


async def every(engine: AsyncEngine, idle: float) -> list[dict[str, Any]]:
    """All accounts: name, role, password (whether there is one), subject, times, sessions in force, last seen."""
    async with engine.connect() as connection:
        return [dict(row) for row in (await connection.execute(ACCOUNTS, {"idle": idle})).mappings()]


def check_name(name: str) -> None:
    """Raise Malformed unless an account may go by that name."""
    if not NAME.fullmatch(name):
        raise Malformed([Fault("name", None, Sentence(NotDone.ACCOUNT_NAME))])
    if name in RESERVED:
        raise Malformed([Fault("name", None, Sentence(NotDone.NO_PERSON, account=name))])


@asynccontextmanager
async def _changing(engine: AsyncEngine, name: str) -> AsyncIterator[tuple[AsyncConnection, Any]]:
    """A transaction that holds the account, and its row as it was."""
    found = accounts.select().where(accounts.c.name == name).with_for_update()
    async with transactional(engine).begin() as connection:
        row = (await connection.execute(found)).one_or_none() if NAME.fullmatch(name) else None
        if row is None:
            raise NotFound(Sentence(NotDone.NO_ACCOUNT, account=name))
        yield connection, row


async def _change(
    connection: AsyncConnection,
    act: str,
    name: str,
    because: str | None,
    values: Mapping[str, Any] = {},
    told: Mapping[str, Any] = {},
) -> None:
    """Write it, end the sessions, and record it."""
    if values:
        await connection.execute(update(accounts).where(accounts.c.name == name).values(values))
    ended = await connection.execute(delete(console_sessions).where(console_sessions.c.account == name))
    detail = told if values else {"sessions": ended.rowcount}
    await record(connection, f"account {act}", because, {"account": name, **detail})
