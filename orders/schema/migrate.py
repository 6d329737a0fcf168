"""Brings the journal's tables to the newest revision, one process at a time."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, make_url, text

from orders.journal import connect, transactional
from orders.journal.connection import log
from orders.journal.hosts import listener_dsn
from orders.schema.epochs import rebase
from orders.schema.grants import grant

MIGRATION_LOCK: Final = 0x52454C41  # "RELA", any number that nobody else takes


def migrate(url: str, *, used_by: str | None = None) -> None:
    """Bring the journal's tables to the newest revision; safe to run from many processes at once.

    With `used_by`, the URL by which processes that own nothing come, its user gets what they need
    (`orders.schema.grants`).
    """
    asyncio.run(_migrate(url, used_by))


def _user(url: str) -> URL:
    return make_url(listener_dsn(url))


async def _migrate(url: str, used_by: str | None) -> None:
    engine = connect(url, pool=1, timeout=600)
    try:
        async with transactional(engine).begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            await connection.run_sync(_upgrade)
            if (epoch := await connection.run_sync(rebase)) is not None:
                log.warning("the journal was restored into another PostgreSQL", extra={"epoch": epoch})
            if used_by is not None and _user(used_by).username != _user(url).username:
                await connection.run_sync(grant, _user(used_by))
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("orders") / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
