"""Webhooks: where a client wants to hear of its orders, one for each client. Operators set them, not clients.

A webhook that is disabled or removed loses nothing: what it was to be told waits in the journal until it is enabled,
or its client has one again. Every act may carry another (`also`) in its transaction: the record of who did it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from yarl import URL

from orders.errors import Fault, Malformed, NotFound, RelaisError
from orders.journal import transactional
from orders.schema.tables.clients import clients, webhooks
from orders.schema.triggers import NOTICE_CHANNEL
from orders.webhooks.payload import new_secret

Also = Callable[[AsyncConnection], Awaitable[None]]
HOLDING: Final = UUID(int=1)  # the lease of a notice that holds its client's others back until it is due
LONGEST_URL: Final = 2000  # characters
PLAIN: Final = "must be https:// (plain http:// only to this host, or where RELAIS_WEBHOOK_PLAIN_HTTP allows it)"

NOTICES_DUE: Final = text(f"SELECT pg_notify('{NOTICE_CHANNEL}', '')")  # the dispatcher, upon commit

# What is on its way at this moment is left to whoever has it.
TRY_AGAIN = text("""
UPDATE notices SET due_at = now(), lease = NULL
WHERE client = :client AND told_at IS NULL AND (lease IS NULL AND due_at > now() OR lease = :held)
""")


class WebhookExists(RelaisError):
    """The client has a webhook."""


def check(url: str, *, plain_http: bool = False) -> str:
    """The URL, if it can be a webhook's. Raises Malformed.

    Without credentials, and https unless the host is this one or `plain_http` allows it. What is inside the
    wholesaler's network is allowed: operators set URLs, and redirects, which receivers choose, are never followed.
    """
    try:
        parsed = URL(url)
        host, fault = parsed.host, None
        if len(url) > LONGEST_URL or not url.isprintable() or " " in url:
            fault = f"must be {LONGEST_URL} printable characters at most, without spaces"
        elif parsed.scheme not in ("http", "https") or not host:
            fault = "must be an https:// URL with a host"
        elif parsed.user is not None or parsed.password is not None or parsed.fragment:
            fault = "must have neither user, password nor fragment"
        elif parsed.scheme == "http" and not plain_http and not _is_loopback(host):
            fault = PLAIN
    except ValueError:
        fault = "is no URL"
    if fault is not None:
        raise Malformed([Fault("url", None, fault)])
    return url


async def add(engine: AsyncEngine, client: str, url: str, also: Also | None = None) -> str:
    """Tell `client` at `url` (see `check`) from now on; returns the secret. Raises NotFound and WebhookExists."""
    secret = new_secret()
    try:
        async with transactional(engine).begin() as connection:
            if (await connection.execute(select(clients.c.name).where(clients.c.name == client))).first() is None:
                raise NotFound(f"no client {client}")
            await connection.execute(insert(webhooks).values(client=client, url=url, secrets=[secret]))
            await _close(connection, also)
    except IntegrityError:
        raise WebhookExists(f"client {client} has a webhook already") from None
    return secret


async def move(engine: AsyncEngine, client: str, url: str, also: Also | None = None) -> None:
    """Tell the client at another URL from now on, signed with the same secrets. Raises NotFound."""
    await _change(engine, client, {"url": url}, also)


async def rotate(engine: AsyncEngine, client: str, also: Also | None = None) -> str:
    """Sign with a new secret as well, and return it. Raises NotFound, and Malformed while two are in force."""
    async with transactional(engine).begin() as connection:
        held = await _secrets(connection, client)
        if len(held) > 1:
            raise Malformed([Fault("client", None, "its last rotation is not finished: rotate --finish")])
        secret = new_secret()
        change = update(webhooks).where(webhooks.c.client == client)
        await connection.execute(change.values(secrets=[secret, *held]))
        await _close(connection, also)
    return secret


async def finish_rotation(engine: AsyncEngine, client: str, also: Also | None = None) -> None:
    """Sign with the newest secret only. Raises NotFound."""
    async with transactional(engine).begin() as connection:
        newest, *_ = await _secrets(connection, client)
        await connection.execute(update(webhooks).where(webhooks.c.client == client).values(secrets=[newest]))
        await _close(connection, also)


async def enable(engine: AsyncEngine, client: str, also: Also | None = None) -> None:
    """Try again now, also a webhook that is failing: all that it was not told is due. Raises NotFound."""
    fit = {"disabled_at": None, "failing_since": None, "why": None}
    await _change(engine, client, fit, also, TRY_AGAIN)


async def disable(engine: AsyncEngine, client: str, reason: str, also: Also | None = None) -> None:
    """Tell it nothing until it is enabled; its notices wait. Raises NotFound."""
    await _change(engine, client, {"disabled_at": text("now()"), "why": reason}, also)


async def remove(engine: AsyncEngine, client: str, also: Also | None = None) -> None:
    """Tell the client nothing more; what it was not told stays in the journal. Raises NotFound."""
    async with transactional(engine).begin() as connection:
        gone = await connection.execute(delete(webhooks).where(webhooks.c.client == client))
        if gone.rowcount == 0:
            raise NotFound(f"client {client} has no webhook")
        await _close(connection, also)


async def target(engine: AsyncEngine, client: str) -> tuple[str, list[str]]:
    """The URL and the secrets, the newest first. Raises NotFound."""
    query = select(webhooks.c.url, webhooks.c.secrets).where(webhooks.c.client == client)
    async with engine.connect() as connection:
        row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound(f"client {client} has no webhook")
    return row.url, row.secrets


async def _change(
    engine: AsyncEngine, client: str, values: dict[str, Any], also: Also | None, then: TextClause | None = None
) -> None:
    async with transactional(engine).begin() as connection:
        changed = await connection.execute(update(webhooks).where(webhooks.c.client == client).values(values))
        if changed.rowcount == 0:
            raise NotFound(f"client {client} has no webhook")
        if then is not None:
            await connection.execute(then, {"client": client, "held": HOLDING})
        await _close(connection, also)


async def _close(connection: AsyncConnection, also: Also | None) -> None:
    """Record who did it, and wake the dispatcher."""
    if also is not None:
        await also(connection)
    await connection.execute(NOTICES_DUE)


async def _secrets(connection: AsyncConnection, client: str) -> list[str]:
    query = select(webhooks.c.secrets).where(webhooks.c.client == client).with_for_update()
    held = (await connection.execute(query)).scalar_one_or_none()
    if held is None:
        raise NotFound(f"client {client} has no webhook")
    return list(held)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
