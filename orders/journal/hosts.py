"""Connections to the journal: to its PostgreSQL, or to that one of several which takes writes.

Of several hosts the first is asked, and each next one as soon as the last has failed or let us wait; the first that
takes writes is the journal. So a failover is followed by connecting anew, however the old primary went away.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Any, Final

import asyncpg
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from config.errors import first_line

HEAD_START: Final = 0.3  # seconds for one host before the next is asked too
ATTRIBUTE: Final = "target_session_attrs"

_PARTS: Final = re.compile(r"(?P<before>[\w+]+://(?:[^@]*@)?)(?P<hosts>[^@/?]*)(?P<after>.*)", re.DOTALL)
_HOST: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]:]+)(?::(?P<port>\d{1,5}))?")


class NoPrimary(ConnectionError):
    """None of the hosts can be reached and takes writes; the message says what each had to say."""


class LoginRefused(ConnectionError):
    """PostgreSQL answers and lets nobody in, whatever its SQLSTATE; the message is its own."""


class PatientConnection(asyncpg.Connection):  # type: ignore[misc] # asyncpg is untyped
    """One that may be closed by whoever does not wait for it: a server that lets its end run out of time is no error
    (asyncpg has cut it by then), and would be one that nobody hears.
    """

    async def close(self, *, timeout: float | None = None) -> None:
        """As asyncpg's, but for that."""
        with suppress(TimeoutError):
            await super().close(timeout=timeout)


def hosts_of(url: str) -> list[tuple[str, int]]:
    """The hosts of a URL that names several, else none. Raises ArgumentError."""
    parts = _PARTS.fullmatch(url)
    if parts is None or "," not in parts["hosts"]:
        return []
    return [_host(each) for each in parts["hosts"].split(",")]


def listener_dsn(url: str) -> str:
    """The URL as asyncpg itself takes it; of several hosts only the first. Raises ArgumentError."""
    parts = _PARTS.fullmatch(url)
    if parts is not None and "," in parts["hosts"]:
        url = f"{parts['before']}{parts['hosts'].partition(',')[0]}{parts['after']}"
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


async def reach(url: str, *, timeout: float, **options: Any) -> asyncpg.Connection:
    """Connect to the journal within `timeout` seconds, with asyncpg's own options.

    Raises OSError (NoPrimary and LoginRefused among it), TimeoutError and asyncpg.InterfaceError.
    """
    dsn, hosts = listener_dsn(url), hosts_of(url)
    options["connection_class"] = PatientConnection
    if not hosts:
        try:
            return await asyncpg.connect(dsn, timeout=timeout, **options)
        except asyncpg.TargetServerAttributeNotMatched as error:
            raise NoPrimary(_said(error)) from None
        except asyncpg.PostgresError as error:
            raise LoginRefused(first_line(error)) from error
    if ATTRIBUTE not in make_url(dsn).query:
        options[ATTRIBUTE] = "read-write"
    async with asyncio.timeout(timeout):
        return await _first(dsn, hosts, options)


async def _first(dsn: str, hosts: list[tuple[str, int]], options: dict[str, Any]) -> asyncpg.Connection:
    """From the first host that can be used; the others are let go."""
    tries: dict[asyncio.Task[asyncpg.Connection], str] = {}
    faults: list[str] = []
    waiting = hosts[::-1]
    try:
        while waiting or tries:
            if waiting:
                host, port = waiting.pop()
                one = asyncio.create_task(asyncpg.connect(dsn, host=host, port=port, timeout=None, **options))
                tries[one] = f"{host}:{port}"
            done, _ = await asyncio.wait(
                tries, timeout=HEAD_START if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for one in done:
                place = tries.pop(one)
                if (error := one.exception()) is None:
                    return one.result()
                faults.append(f"{place}: {_said(error)}")
    finally:
        for one in tries:
            one.add_done_callback(_let_go)
            one.cancel()
    raise NoPrimary("; ".join(faults))


def _said(error: BaseException) -> str:
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "takes no writes"
    return first_line(error)


def _let_go(late: asyncio.Task[asyncpg.Connection]) -> None:
    if not late.cancelled() and late.exception() is None:
        late.result().terminate()


def _host(written: str) -> tuple[str, int]:
    found = _HOST.fullmatch(written)
    if found is None or not 0 < int(found["port"] or 5432) < 65536:
        raise ArgumentError(f"{written!r} is no host with a port")
    return found["host"].strip("[]"), int(found["port"] or 5432)
