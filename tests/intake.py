"""The intake served over HTTP by a real uvicorn, the orders that it is given, and who gives them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import UUID

import aiohttp
import uvicorn
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.access import clients
from orders.api import Parts, create_app
from orders.api.connection import HttpConnection
from orders.intake.entries import Accepted, entry, write
from orders.journal import connect
from orders.model import Order, parse
from tests.machines.roles import above
from tests.waiting import auntil

Call = Callable[..., Awaitable[tuple[int, dict[str, Any], aiohttp.ClientResponse]]]
ORDER = {"pharmacy": "990000002", "reference": "A1", "lines": [{"product": "3400937318044", "quantity": 2}]}
RawCall = Callable[..., Awaitable[tuple[int, Mapping[str, str], bytes]]]
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@contextlib.asynccontextmanager
async def serving(settings: Settings, parts: Parts | None = None) -> AsyncIterator[str]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    parts = parts or Parts()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, parts),
            http=functools.partial(HttpConnection, parts.connections),  # type: ignore[arg-type]
            log_level="error",
            log_config=None,
            lifespan="on",
        )
    )
    running = asyncio.create_task(server.serve(sockets=[listening]))
    await auntil(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listening.close()


def over_http(settings: Settings, work: Callable[[Call], Awaitable[Any]], *, key: bool = True) -> Any:
    async def main() -> Any:
        engine = connect(above(settings.need("database_url")))
        made = await clients.add(engine, "front") if key else "none"
        await engine.dispose()
        async with serving(settings) as url, aiohttp.ClientSession() as session:

            async def call(method: str, path: str, **options: Any) -> tuple[int, dict[str, Any], Any]:
                headers = {"Authorization": f"Bearer {made}", **options.pop("headers", {})}
                read = options.pop("read", "json")
                async with session.request(method, url + path, headers=headers, **options) as answer:
                    content = await (answer.text() if read == "text" else answer.json(content_type=None))
                    return answer.status, content, answer

            return await work(call)

    return asyncio.run(main())


def ask_json(url: str, key: str, body: object = None, *, method: str = "POST") -> tuple[int, dict[str, Any]]:
    """The status and the JSON of the answer of a served intake."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    given = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, given, headers, method=method), timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def order(reference: str, quantity: int = 1, **more: object) -> Order:
    lines = [{"product": "3400937318044", "quantity": quantity}]
    return parse(json.dumps({"pharmacy": "990000002", "reference": reference, "lines": lines, **more}).encode())


async def journalled(engine: AsyncEngine, orders: Sequence[Order], client: str, backend: str = "erp") -> list[UUID]:
    """Orders as the journal may have them from any time: accepted before theirs was over, or under other rules."""
    async with engine.connect() as connection:
        answers = await write(connection, [entry(each, client, backend) for each in orders])
    return [answer.id for answer in answers if isinstance(answer, Accepted)]


def clients_over_http(
    settings: Settings,
    may: Mapping[str, Mapping[str, Any]],
    work: Callable[[RawCall], Awaitable[None]],
    parts: Parts | None = None,
) -> None:
    """Serve the intake with a client of each name, and let `work` call it by `call(client, method, path, …)`."""

    async def main() -> None:
        engine = connect(above(settings.need("database_url")))
        keys = {name: await clients.add(engine, name, **options) for name, options in may.items()}
        await engine.dispose()
        async with serving(settings, parts) as url, aiohttp.ClientSession() as session:

            async def call(
                client: str, method: str, path: str, token: str | None = None, said: str | None = None, **more: Any
            ) -> tuple[int, Any, bytes]:
                headers = {"Authorization": said or f"Bearer {token or keys[client]}"}
                async with session.request(method, url + path, headers=headers, **more) as answer:
                    return answer.status, answer.headers, await answer.read()

            await work(call)

    asyncio.run(main())
