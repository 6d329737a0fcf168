"""Watching orders become final: a bar, and whenever they do not, why.

A journal that is briefly out of reach ends no watch; the orders do not care whether anybody looks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from orders.journal import unreachable
from orders.queries import orders as order_queries
from orders.queries import replays as replay_queries
from workers.cli.progress import bar
from workers.cli.show import sentence
from workers.dispatch.blocked import hindrances
from workers.monitoring.status import balance
from workers.replay.redrive import left, states

SHORTEST_PAUSE = 0.3  # s between two looks, or four times as long as the look itself took
BLINDNESS = 30.0  # s without the journal, after which a watch gives up

Left = Callable[[], Awaitable[int]]


async def drained(engine: AsyncEngine, timeout: timedelta | None, replay: int | None = None) -> dict[str, Any]:
    """Wait until the backlog is empty, at most `timeout`: whether it is, how many are left, what became final.

    Or until a gate makes the replay of that number hold: then also how it stands, and `why`.
    """
    began, before, held = time.monotonic(), await order_queries.counts(engine), dict[str, Any]()

    async def remaining() -> int:
        [row] = await replay_queries.standing(engine, replay) if replay is not None else [None]
        if row is not None and replay_queries.stuck(row):
            held.update({name: row[name] for name in ("state", "why")})
            return 0
        return await order_queries.backlog_size(engine)

    left = await watch(engine, "drain", remaining, timeout)
    if held:
        left = await order_queries.backlog_size(engine)
    became = balance(before, await order_queries.counts(engine))
    return {"empty": left == 0, "backlog": left, "became": became, "seconds": time.monotonic() - began, **held}


async def settled(engine: AsyncEngine, ids: Sequence[UUID]) -> dict[str, Any]:
    """Wait until every one of these orders is final; how many are in each state then."""
    began = time.monotonic()
    await watch(engine, "replay", lambda: left(engine, ids), None)
    return {"became": await states(engine, ids), "seconds": time.monotonic() - began}


async def followed(engine: AsyncEngine, number: int, ids: Sequence[UUID]) -> dict[str, Any]:
    """Follow a replay until it is over, or a gate makes it hold: its state, why, and how many are in each state."""
    began, row = time.monotonic(), {"state": "running"}

    async def remaining() -> int:
        [found] = await replay_queries.standing(engine, number)
        row.update(found)
        return 0 if replay_queries.stuck(found) or found["ended_at"] else int(found["left"]) or 1

    await watch(engine, "replay", remaining, None)
    became = await states(engine, ids)
    return {**{name: row[name] for name in ("state", "why")}, "became": became, "seconds": time.monotonic() - began}


async def watch(engine: AsyncEngine, label: str, remaining: Left, timeout: timedelta | None) -> int:
    """Show how `remaining()` shrinks until it is nothing or `timeout` is over; returns what remains."""
    deadline = time.monotonic() + timeout.total_seconds() if timeout is not None else float("inf")
    total = orders = await remaining()
    seen = time.monotonic()
    with bar(label, total) as shown:
        while orders and time.monotonic() < deadline:
            began = time.monotonic()
            try:
                orders, news = await remaining(), "; ".join(map(sentence, await hindrances(engine)))
                seen = time.monotonic()
            except Exception as error:
                if not unreachable(error) or time.monotonic() - seen > BLINDNESS:
                    raise
                news = "the journal is out of reach"
            total = max(total, orders)
            shown.at(total - orders, total, news if orders else "")
            if orders:
                pause = max(SHORTEST_PAUSE, 4 * (time.monotonic() - began))
                await asyncio.sleep(min(pause, max(0.0, deadline - time.monotonic())))
    return orders
