"""Orders to forward, a connector to forward them with, and tiny raw servers that can answer anything."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from config.settings import Settings
from orders.access.receipt_keys import fingerprint
from workers.erp.http import HttpErp
from workers.erp.port import Barrier, Erp, Outcome, Submission
from workers.erp.signing import Key

MEDICINES = ("3400937318044", "3400938615470", "3400932648047")

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def an_order(*quantities: int, order_id: UUID | None = None) -> Submission:
    """An order of one line for each quantity, 2 boxes of one product by default."""
    lines = [{"product": MEDICINES[n % 3], "quantity": q} for n, q in enumerate(quantities or (2,))]
    order = {"lines": lines, "pharmacy": "990000002", "priority": "normal", "reference": str(uuid4())}
    body = json.dumps(order, separators=(",", ":")).encode()
    return Submission(order_id or uuid4(), body, hashlib.sha256(body).digest())


def settings_for(url: str, **more: Any) -> Settings:
    """Settings with short deadlines; nothing is read from the environment that a test does not name."""
    given: dict[str, Any] = {"erp_url": url, "erp_timeout": 5.0, "erp_idempotent": True, **more}
    return Settings(_env_file=None, **given)


class Keys:
    """Keys that receipts are verified with, without a journal."""

    def __init__(self, *public: Ed25519PublicKey) -> None:
        self._keys = {key_id(each): Key(key_id(each), each) for each in public}

    async def known(self, *, anew: bool = False) -> Mapping[str, Key]:
        return self._keys

    def now(self) -> datetime:
        return datetime.now(UTC)


def key_id(public: Ed25519PublicKey) -> str:
    """The id that a key gets when it is given none."""
    return fingerprint(public.public_bytes_raw())


@asynccontextmanager
async def connector(
    url: str, keys: Keys | None = None, barrier: Barrier | None = None, tries: int = 1, **more: Any
) -> AsyncIterator[HttpErp]:
    """A connector to the ERP at `url`."""
    erp = HttpErp(settings_for(url, **more), keys, barrier, tries=tries)
    try:
        yield erp
    finally:
        await erp.close()


async def submit_one(erp: Erp, order: Submission, budget: float = 20.0) -> Outcome:
    """What comes of one order."""
    return (await erp.submit([order], budget=budget))[order.id]


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[str]:
    """The URL of a server that does with every connection what `handler` does."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """The headers, lower case, and the body of the next request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    headers = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in head.splitlines()[1:] if line)
    }
    return headers, await reader.readexactly(int(headers.get("content-length", 0)))


def response(status: int, body: bytes = b"", media_type: str = "application/json", **headers: str) -> bytes:
    """An HTTP response with a Content-Length."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {media_type}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def receipt_for(body: bytes, reference: str = "E-1", **changes: Any) -> dict[str, Any]:
    """A good receipt for the body of an order, with changes."""
    lines = [
        {"line": number, "product": line["product"], "accepted": line["quantity"], "reason": None}
        for number, line in enumerate(json.loads(body)["lines"], 1)
    ]
    return {"reference": reference, "digest": hashlib.sha256(body).hexdigest(), "lines": lines, **changes}


def answering(*answers: Callable[[bytes], bytes] | bytes) -> Handler:
    """A handler that answers the server's n-th request with the n-th answer, and all later ones with the last.

    An answer is bytes, or what a function makes of the request's body; empty, the connection is reset instead.
    """
    turn = iter(range(10**9))

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            answer = answers[min(next(turn), len(answers) - 1)]
            data = answer if isinstance(answer, bytes) else answer(body)
            if not data:
                writer.transport.abort()
                return
            writer.write(data)
            await writer.drain()

    return handle


def good(body: bytes) -> bytes:
    """201 with a good receipt."""
    return response(201, json.dumps(receipt_for(body)).encode())
