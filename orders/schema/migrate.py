"""Brings the journal's tables to the newest revision, one process at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, make_url, text

from config.journal_roles import PROCESSES, passwords_in, role_of
from config.settings import Settings
from orders.journal import connect, transactional
from orders.journal.connection import log
from orders.journal.hosts import listener_dsn
from orders.schema.epochs import rebase
from orders.schema.grants import DATABASE, grant
from orders.schema.roles import JournalRole

MIGRATION_LOCK: Final = 0x52454C41  # "RELA", any number that nobody else takes


def migrate(url: str, *, used_by: str | None = None, passwords: Mapping[str, str] | None = None) -> None:
    """Bring the journal's tables to the newest revision; safe to run from many processes at once.

    With `passwords`, by process, each of these gets a role of its own with what it needs (`orders.schema.rights`);
    else, with `used_by`, the URL by which processes that own nothing come, its user gets what all of them need.
    """
    asyncio.run(_migrate(url, used_by, passwords))


def migrate_for(settings: Settings) -> None:
    """The same as these settings say: for roles where the owner is known, who alone can make them.

    Raises MissingSetting, and OSError for a password that cannot be read.
    """
    journal = settings.journal
    passwords = passwords_in(journal.roles) if journal.roles and journal.owner_url else None
    migrate(journal.owner_url or settings.need("database_url"), used_by=journal.url, passwords=passwords)


def _user(url: str) -> URL:
    return make_url(listener_dsn(url))


async def _migrate(url: str, used_by: str | None, passwords: Mapping[str, str] | None) -> None:
    engine = connect(url, pool=1, timeout=600)
    try:
        async with transactional(engine).begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key, 0)"), {"key": MIGRATION_LOCK})
            await connection.run_sync(_upgrade)
            if (epoch := await connection.run_sync(rebase)) is not None:
                log.warning("the journal was restored into another PostgreSQL", extra={"epoch": epoch})
            for role in await connection.run_sync(_roles, _user(url), used_by, passwords):
                await connection.run_sync(grant, role)
    finally:
        await engine.dispose()


def _roles(
    connection: Connection, owner: URL, used_by: str | None, passwords: Mapping[str, str] | None
) -> list[JournalRole]:
    """Whom the journal is to be opened to."""
    database = connection.execute(DATABASE).scalar_one()
    if passwords:
        return [JournalRole(role_of(database, each), password, (each,)) for each, password in passwords.items()]
    user = None if used_by is None else _user(used_by)
    if user is None or user.username == owner.username:
        return []
    own = tuple(each for each in PROCESSES if user.username == role_of(database, each))
    return [JournalRole(user.username or "", user.password, own or PROCESSES)]


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("orders") / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
