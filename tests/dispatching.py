"""The dispatcher as it runs, beside a real journal and a real queue, and what a worker tells Flower."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import redis
from celery import Celery
from sqlalchemy import text

from config.settings import Settings
from orders.journal import connect
from orders.model import parse
from tests.intake import journalled
from tests.machines.roles import above
from workers.dispatch.dispatcher import Dispatcher
from workers.queue.app import create_app
from workers.queue.publisher import Publisher

WORKER = "relais-7@here"


@contextmanager
def dispatching(settings: Settings) -> Iterator[Dispatcher]:
    app = create_app(settings)
    dispatcher = Dispatcher(settings, partial(Publisher, app))
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        dispatcher.stop()
        app.close()


def on_journal(settings: Settings, statement: str) -> list[Any]:
    async def run() -> list[Any]:
        engine = connect(above(settings.need("database_url")))
        try:
            async with engine.connect() as connection:
                done = await connection.execute(text(statement))
                return list(done.all()) if done.returns_rows else []
        finally:
            await engine.dispose()

    return asyncio.run(run())


def accept(settings: Settings, count: int, **fields: object) -> None:
    async def run() -> None:
        engine = connect(above(settings.need("database_url")))
        line = {"product": "3400937318044", "quantity": 1}
        bodies = [{"pharmacy": "P1", "reference": uuid4().hex, "lines": [line], **fields} for _ in range(count)]
        await journalled(engine, [parse(json.dumps(body).encode()) for body in bodies], "t", settings.erp.backend)
        await engine.dispose()

    asyncio.run(run())


def depth(url: str, *queues: str) -> int:
    with redis.Redis.from_url(url) as client:
        return sum(int(client.llen(queue)) for queue in queues)


def tell(app: Celery, count: int) -> None:
    """What a worker tells of so many tasks, in one pipeline."""
    with (
        app.connection_for_write() as connection,
        app.events.Dispatcher(connection, hostname=WORKER) as dispatcher,
        dispatcher.producer.batch(),
    ):
        for _ in range(count):
            dispatcher.send(
                "task-received",
                uuid=str(uuid4()),
                name="relais.deliver",
                args="37 orders, oldest 12:03Z",
                kwargs="{}",
                retries=0,
                eta=None,
                expires=None,
            )
