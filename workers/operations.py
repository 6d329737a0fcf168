"""Acts of operators, each recorded in `operations` in the very transaction that does it.

Pause and resume stop and restart forwarding without touching intake; they live in the journal, so they survive
every process. Replay and discard of dead letters, and replay of the backlog, are in `workers.replay`.
"""

from __future__ import annotations

import getpass
import json
import os
from typing import Any

from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import NotFound
from orders.journal import DUE_CHANNEL, transactional
from orders.tables import backends, operations

WAKE = text(f"SELECT pg_notify('{DUE_CHANNEL}', '')")


def operator() -> str:
    """Who is acting: RELAIS_OPERATOR, else the person behind sudo, else the account."""
    return os.environ.get("RELAIS_OPERATOR") or os.environ.get("SUDO_USER") or getpass.getuser()


async def record(connection: AsyncConnection, act: str, reason: str | None, detail: dict[str, Any]) -> None:
    """Write down an act; to be called inside the transaction that does it."""
    plain = json.loads(json.dumps(detail, default=str))
    await connection.execute(insert(operations).values(operator=operator(), act=act, reason=reason, detail=plain))


async def pause(engine: AsyncEngine, backend: str, reason: str) -> None:
    """Stop forwarding to a backend; intake goes on. Raises NotFound."""
    await _set_paused(engine, backend, True, reason)


async def resume(engine: AsyncEngine, backend: str, reason: str | None) -> None:
    """Forward again. Raises NotFound."""
    await _set_paused(engine, backend, False, reason)


async def _set_paused(engine: AsyncEngine, backend: str, paused: bool, reason: str | None) -> None:
    async with transactional(engine).begin() as connection:
        changed = await connection.execute(
            update(backends).where(backends.c.name == backend).values(paused=paused, why=reason if paused else None)
        )
        if changed.rowcount == 0:
            raise NotFound(f"no backend {backend}; a worker registers it when it first starts")
        await record(connection, "pause" if paused else "resume", reason, {"backend": backend})
        await connection.execute(WAKE)
