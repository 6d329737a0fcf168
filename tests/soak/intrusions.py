"""Faults that are done to a server through its own door: log-ins refused, Redis emptied, messages forged, callers that
never end, clocks that step, and operators at work meanwhile.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final

import redis

from config.redis_keys import NORMAL, SPILL_RECORDS, queue_of
from tests.soak.faults import Kind, server_killed
from tests.soak.stack import BACKEND, Stack

# Emptied only while nothing is spilled: what only Redis has is lost with it, as the promise says.
FLUSH: Final = "if redis.call('LLEN', KEYS[1]) == 0 then redis.call('FLUSHALL') return 1 end return 0"
CALLERS: Final = 40
KEEPS_SENDING: Final = 0.2  # seconds between two pieces of a caller that never ends

OPERATORS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "pause, resume": (("pause", "--because", "soak"), ("resume", "--because", "soak")),
    "replay": (
        ("replay", "start", "--yes", "--no-wait", "--because", "soak"),
        ("replay", "cancel", "--yes", "--because", "soak"),
    ),
    "replay of dead letters": (("replay", "start", "--reason", "exhausted", "--yes", "--because", "soak"), ()),
    "rotation of keys": (("client", "rotate", "front", "--overlap", "2h", "--yes"), ()),
}
REFUSED: Final = {
    "password changed": ("PASSWORD 'another'", None),
    "no log-in": ("NOLOGIN", "LOGIN"),
    "no connections": ("CONNECTION LIMIT 0", "CONNECTION LIMIT -1"),
    "read-only": ("SET default_transaction_read_only = on", "RESET default_transaction_read_only"),
}


@asynccontextmanager
async def refused(stack: Stack, target: str, how: str) -> AsyncIterator[None]:
    """PostgreSQL answers, and refuses the application's roles."""
    roles = await stack.sql("SELECT rolname, rolpassword FROM pg_authid WHERE rolcanlogin AND NOT rolsuper")
    change, back = REFUSED[how]
    for role in roles:
        await stack.sql(f'ALTER ROLE "{role["rolname"]}" {change}')
    await stack.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user")
    try:
        yield
    finally:
        for role in roles:
            undo = back or f"PASSWORD '{role['rolpassword']}'"
            await stack.sql(f'ALTER ROLE "{role["rolname"]}" {undo}')
        await stack.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user")


@asynccontextmanager
async def weakened(stack: Stack, target: str) -> AsyncIterator[None]:
    """`synchronous_commit = off` for every role, new connections, and a SIGKILL of all of PostgreSQL."""
    await stack.sql("ALTER ROLE ALL SET synchronous_commit = off")
    await stack.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user")
    await asyncio.sleep(1.5)
    async with server_killed(stack, target, 0):
        yield
    await stack.sql("ALTER ROLE ALL RESET synchronous_commit")


@asynccontextmanager
async def flushed(stack: Stack, target: str) -> AsyncIterator[None]:
    """FLUSHALL."""
    await _ask(stack, "admin", "EVAL", FLUSH, "1", SPILL_RECORDS)
    yield


@asynccontextmanager
async def forged(stack: Stack, target: str) -> AsyncIterator[None]:
    """Messages that no worker can take, and some that it can, of orders that are none."""
    body = base64.b64encode(json.dumps([[BACKEND, ["00000000-0000-7000-8000-000000000000"]], {}, {}]).encode()).decode()
    real = {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"task": "relais.deliver", "id": secrets.token_hex(8), "lang": "py"},
        "properties": {"delivery_tag": secrets.token_hex(8), "body_encoding": "base64", "delivery_info": {}},
    }
    messages = [
        "no json",
        "[" * 20000,
        json.dumps({**real, "body": "%%%"}),
        json.dumps({**real, "headers": None}),
        json.dumps({**real, "headers": {**real["headers"], "compression": "zlib"}}),  # type: ignore[dict-item]
        json.dumps(real),
    ]
    await _ask(stack, "admin", "LPUSH", queue_of(NORMAL, BACKEND), *messages)
    yield


@asynccontextmanager
async def controlled(stack: Stack, target: str) -> AsyncIterator[None]:
    """Celery's remote control, by Flower's user of Redis."""
    for method, arguments in (
        ("cancel_consumer", {"queue": queue_of(NORMAL, BACKEND)}),
        ("rate_limit", {"task_name": "relais.deliver", "rate_limit": "1/h"}),
        ("pool_shrink", {"n": 2}),
        ("shutdown", {}),
    ):
        body = json.dumps({"method": method, "arguments": arguments, "destination": None})
        message = {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"clock": 1, "expires": 9999999999},
            "properties": {"delivery_tag": secrets.token_hex(8), "body_encoding": "base64", "delivery_info": {}},
        }
        await _ask(stack, "flower", "PUBLISH", "/0.celery.pidbox", json.dumps(message))
    yield


async def _ask(stack: Stack, user: str, *words: str) -> None:
    def ask() -> None:
        with redis.Redis.from_url(stack.valkey.url_of(user), socket_timeout=5) as client, suppress(redis.RedisError):
            client.execute_command(*words)

    await asyncio.to_thread(ask)


@asynccontextmanager
async def hostile(stack: Stack, target: str, how: str) -> AsyncIterator[None]:
    """Callers that never come to an end."""
    url = next(url for name, url in zip(sorted(stack.parts), stack.urls, strict=False) if name == target)
    tasks = [asyncio.create_task(_call(int(url.rpartition(":")[2]), stack.key, how)) for _ in range(CALLERS)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _call(port: int, key: str, how: str) -> None:
    auth = f"Authorization: Bearer {key}\r\n" if how != "endless header" else ""
    head = f"POST /orders/batch HTTP/1.1\r\nHost: 127.0.0.1\r\n{auth}".encode()
    pieces = {
        "silent uploads": (head + b"Content-Length: 100000\r\n\r\n{", b""),
        "endless header": (head + b"X-Junk: ", b"x" * 4096),
        "junk lines": (head + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b'{"a":1}\n' * 512 + b"\r\n"),
    }
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(pieces[how][0])
            while True:
                writer.write(pieces[how][1])
                await writer.drain()
                await asyncio.sleep(KEEPS_SENDING)
        finally:
            writer.transport.abort()


@asynccontextmanager
async def stepped(stack: Stack, target: str, by: str) -> AsyncIterator[None]:
    """The wall clock of one part steps, and steps back; with an empty step it stands still."""
    stack.clock(target).write_text(by or f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}")
    try:
        yield
    finally:
        stack.clock(target).write_text("+0")


@asynccontextmanager
async def told(stack: Stack, target: str, words: tuple[tuple[str, ...], tuple[str, ...]]) -> AsyncIterator[None]:
    """An operator's command, and the one that ends it."""
    first, then = words
    await stack.tell(*first)
    yield
    for _ in range(5 if then else 0):  # a store may be away, or what was looked at have changed meanwhile
        if (await stack.tell(*then))[0] == 0:
            break
        await asyncio.sleep(1)


@asynccontextmanager
async def tampered(stack: Stack, target: str, how: str) -> AsyncIterator[None]:
    """Receipts lie until the backend is quarantined or the time is up; then an operator releases it."""
    with suppress(OSError):
        await asyncio.to_thread(partial(stack.dial, tamper=how, tamper_rate=0.3))
    yield
    await stack.fit()
    await stack.released()


def intrusions(stack: Stack) -> list[Kind]:
    """Every kind of these that can be had here."""
    apis = tuple(name for name in stack.parts if name.startswith("api"))
    workers = tuple(name for name in stack.parts if name.startswith("worker"))
    found = [Kind(f"PostgreSQL: {how}", ("pg",), partial(refused, how=how)) for how in REFUSED]
    found += [
        Kind("PostgreSQL: synchronous_commit off, then SIGKILL", ("pg",), weakened, kills=True),
        Kind("Valkey: FLUSHALL", ("redis",), flushed, (0.1, 0.5), also=("pg",)),
        Kind("Valkey: forged messages", ("redis",), forged, (0.1, 0.5)),
        Kind("Valkey: remote control", ("redis",), controlled, (0.1, 0.5)),
        *(Kind(f"operator: {name}", ("dial",), partial(told, words=words)) for name, words in OPERATORS.items()),
        Kind("ERP: other digests, released", ("dial",), partial(tampered, how="digest"), (1.0, 3.0)),
        Kind("ERP: other quantities, released", ("dial",), partial(tampered, how="quantity"), (1.0, 3.0)),
    ]
    found += [
        Kind(f"caller: {how}", apis, partial(hostile, how=how), (1.0, 6.0))
        for how in ("silent uploads", "endless header", "junk lines")
    ]
    if stack.clocks:
        found += [
            Kind(f"clock of a {part}: {by or 'stands still'}", those, partial(stepped, by=by), (1.5, 5.0), weight=0.7)
            for part, those in (("worker", workers), ("intake", apis))
            for by in ("+18s", "-18s", "+1d", "-1d", "")
        ]
    return found
