"""Where the intake is, with which key it is asked and where orders wait, for the commands that are its clients."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from pydantic import PositiveInt, SecretStr

from config.settings import ENDPOINTS, Settings
from config.settings.sources import FromEnvironment
from orders.client import OrderClient
from orders.client_answers import Outcome
from orders.spool import MOST_BYTES, MOST_ORDERS, Spool
from orders.spool_file import SpoolError
from workers.cli.failure import Failure

T = TypeVar("T")

SPOOL = "spool.db"  # in the data directory
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ClientSettings(FromEnvironment):
    """What a front end's machine has and the servers need not: RELAIS_API_URL, RELAIS_API_KEY, RELAIS_SPOOL, and how
    many orders (RELAIS_SPOOL_ORDERS) of how many bytes (RELAIS_SPOOL_BYTES) that spool may hold.
    """

    api_url: str | None = None
    api_key: SecretStr | None = None
    spool: Path | None = None
    spool_orders: PositiveInt = MOST_ORDERS
    spool_bytes: PositiveInt = MOST_BYTES


def api_url(settings: Settings) -> str:
    """RELAIS_API_URL, else that of a running `relais up`, else where `relais api` would listen here."""
    if (given := ClientSettings().api_url) is not None:
        return given.rstrip("/")
    known = settings.data_dir / ENDPOINTS
    if known.exists() and (offered := json.loads(known.read_text()).get("api_url")):
        return str(offered).rstrip("/")
    host = EVERYWHERE.get(settings.api_host, settings.api_host)
    return f"http://[{host}]:{settings.api_port}" if ":" in host else f"http://{host}:{settings.api_port}"


def api_key(given: str | None) -> str:
    """The key as given, else RELAIS_API_KEY. Failure when there is neither."""
    key = ClientSettings().api_key
    if not given and key is None:
        raise Failure("an API key is needed: RELAIS_API_KEY or --key; `relais client add NAME` makes one")
    return given or (key.get_secret_value() if key else "")


def spool_at(settings: Settings, given: Path | None) -> Path:
    """Where orders wait: as given, else RELAIS_SPOOL, else spool.db in the data directory."""
    return given or ClientSettings().spool or settings.data_dir / SPOOL


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run what has to do with a spool; the command itself says what its client would log. Failure for SpoolError."""
    logging.getLogger("relais.client").addHandler(logging.NullHandler())
    try:
        return uvloop.run(work)
    except SpoolError as error:
        raise Failure(str(error)) from None


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
        raise Failure(f"there is no spool {path}")


def client(url: str, key: str, spool: Path, heard: Callable[[int, Outcome], None] | None = None) -> OrderClient:
    """A client of the intake. Failure when the URL is none."""
    known = ClientSettings()
    try:
        return OrderClient(
            url,
            key,
            spool,
            most_orders=known.spool_orders,
            most_bytes=known.spool_bytes,
            heard=heard,
        )
    except ValueError as error:
        raise Failure(str(error)) from None
