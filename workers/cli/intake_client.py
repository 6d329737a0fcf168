"""Where the intake is, with which key it is asked and where orders wait, for the commands that are its clients."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from config.settings import Settings
from orders.client.answers import Outcome
from orders.client.client import OrderClient
from orders.client.settings import SPOOL, ClientSettings
from orders.client.spool import Spool
from orders.client.spool_file import SpoolError
from workers.cli.failure import CommandFailed

T = TypeVar("T")


def api_key(given: str | None) -> str:
    """The key as given, else RELAIS_API_KEY. Failure when there is neither."""
    key = ClientSettings().api_key
    if not given and key is None:
        raise CommandFailed("an API key is needed: RELAIS_API_KEY or --key; `relais client add NAME` makes one")
    return given or (key.get_secret_value() if key else "")


def spool_at(settings: Settings, given: Path | None) -> Path:
    """Where orders wait: as given, else RELAIS_SPOOL, else spool.db in the data directory."""
    return given or ClientSettings().spool or settings.files.data_dir / SPOOL


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run what has to do with a spool; the command itself says what its client would log. Failure for SpoolError."""
    logging.getLogger("relais.client").addHandler(logging.NullHandler())
    try:
        return uvloop.run(work)
    except SpoolError as error:
        raise CommandFailed(str(error)) from None


@asynccontextmanager
async def looking_into(path: Path) -> AsyncIterator[Spool]:
    """The spool that is there, open. Failure when there is none; raises SpoolError."""
    must_exist(path)
    spool = Spool(path)
    try:
        yield spool
    finally:
        await spool.close()


def must_exist(path: Path) -> None:
    """Failure unless there is a spool: a mistyped path is not an empty one."""
    if not path.exists():
        raise CommandFailed(f"there is no spool {path}")


def client(url: str, key: str, spool: Path, heard: Callable[[int, Outcome], None] | None = None) -> OrderClient:
    """A client of the intake. Failure when the URL is none."""
    known = ClientSettings()
    try:
        return OrderClient(url, key, spool, most_orders=known.spool_orders, most_bytes=known.spool_bytes, heard=heard)
    except ValueError as error:
        raise CommandFailed(str(error)) from None
