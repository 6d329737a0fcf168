"""Acts of operators, each recorded in `operations` in the very transaction that does it.

Pause and resume stop and restart forwarding without touching intake; they live in the journal, so they survive
every process. Quarantine and release are in `workers.quarantine`, replays and discards in `workers.replay`.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import case, insert, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.backends import load_backends
from config.settings import Settings
from orders.errors import NotFound
from orders.journal import WAKE, transactional
from orders.tables import backends, operations

FIRST_WINDOW = 50  # orders
REGISTER = text('INSERT INTO backends (name, "window") VALUES (:backend, :window) ON CONFLICT DO NOTHING')


ACTING: ContextVar[str | None] = ContextVar("acting", default=None)


def operator() -> str:
    """Who is acting: who `acting_as` names, else RELAIS_OPERATOR, else the person behind sudo, else the account."""
    return ACTING.get() or os.environ.get("RELAIS_OPERATOR") or os.environ.get("SUDO_USER") or getpass.getuser()


@contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Whatever is done within is recorded as this operator's."""
    token = ACTING.set(name)
    try:
        yield
    finally:
        ACTING.reset(token)


async def record(connection: AsyncConnection, act: str, reason: str | None, detail: dict[str, Any]) -> None:
    """Write down an act; to be called inside the transaction that does it."""
    plain = json.loads(json.dumps(detail, default=str))
    await connection.execute(insert(operations).values(operator=operator(), act=act, reason=reason, detail=plain))


async def register(connection: AsyncConnection, backend: str) -> None:
    """Make a backend's row, with a closed circuit and a small window, unless it has one."""
    await connection.execute(REGISTER, {"backend": backend, "window": FIRST_WINDOW})


async def pause(engine: AsyncEngine, settings: Settings, backend: str, reason: str) -> None:
    """Stop forwarding to a backend, also before any worker has run; intake goes on. Raises NotFound."""
    await _set_paused(engine, settings, backend, True, reason)


async def resume(engine: AsyncEngine, settings: Settings, backend: str, reason: str | None) -> None:
    """Forward again. Raises NotFound."""
    await _set_paused(engine, settings, backend, False, reason)


async def _set_paused(
    engine: AsyncEngine, settings: Settings, backend: str, paused: bool, reason: str | None
) -> None:
    change = update(backends).where(backends.c.name == backend)
    async with transactional(engine).begin() as connection:
        if backend in load_backends(settings):
            await register(connection, backend)
        why = case((backends.c.quarantined, backends.c.held_why), else_=reason if paused else None)
        changed = await connection.execute(change.values(paused=paused, held_why=why))
        if changed.rowcount == 0:
            raise NotFound(f"no backend {backend}")
        await record(connection, "pause" if paused else "resume", reason, {"backend": backend})
        await connection.execute(WAKE)
