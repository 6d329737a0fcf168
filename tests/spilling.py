"""An intake whose journal is away, and the spill that it leaves to be journalled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import redis
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from config.redis_keys import SPILL_RECORDS
from orders.intake.group_commit import Intake
from orders.intake.routing import always
from orders.intake.spill import SpillSigner
from orders.journal import connect
from tests.intake import NOWHERE
from tests.machines.roles import above, login
from workers.intake.spill_drain import unspill
from workers.intake.spill_store import RedisSpill

KEY = SpillSigner.of(SecretStr("a key that is shared"))

Work = Callable[[Intake, RedisSpill], Awaitable[Any]]


@asynccontextmanager
async def an_intake(
    journal: str, redis_url: str, store: RedisSpill | None = None, key: SpillSigner = KEY
) -> AsyncIterator[Intake]:
    engine = connect(journal, timeout=2)
    intake = Intake(engine, "erp", spill=(store or RedisSpill(redis_url), key))
    try:
        yield intake
    finally:
        await intake.close()
        await engine.dispose()


async def drain(database_url: str, redis_url: str, key: SpillSigner = KEY) -> int:
    engine, store = connect(login(database_url, "worker")), RedisSpill(redis_url)
    try:
        async with engine.connect() as connection:
            return await unspill(connection, store, key, always("erp"))
    finally:
        await store.close()
        await engine.dispose()


def without_journal(redis_url: str, work: Work, *, journal: str = NOWHERE) -> Any:
    async def run() -> Any:
        store = RedisSpill(redis_url)
        async with an_intake(journal, redis_url, store) as intake:
            return await work(intake, store)

    return asyncio.run(run())


def unspilled(
    database_url: str, redis_url: str, work: Callable[[AsyncEngine], Awaitable[Any]], key: SpillSigner = KEY
) -> Any:
    async def run() -> Any:
        await drain(database_url, redis_url, key)
        engine = connect(above(database_url))
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def records(redis_url: str) -> list[bytes]:
    with redis.Redis.from_url(redis_url) as client:
        return client.lrange(SPILL_RECORDS, 0, -1)
