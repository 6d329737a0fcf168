"""The act that waits until the backlog is empty, as `relais drain` does: it tells how far it is, and changes nothing.

It is recorded when it begins, for it is how an operator says that he stands by. To stop it stops the watching, never
the orders.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from orders.journal import transactional, unreachable
from orders.queries import orders as order_queries
from orders.sentences import joined
from workers.console import fields as read
from workers.console.access.people import Role
from workers.console.acts.act import Act, Chosen, Preview, Running, digest_of
from workers.console.i18n import N_, Words
from workers.console.outlook import outlook
from workers.console.recovery import common as sh
from workers.console.recovery import queries as kept
from workers.console.state import ConsoleState
from workers.dispatch.blocked import hindrances
from workers.forecast.forecast import draining
from workers.monitoring.status import balance
from workers.operations import record

LOOK_EVERY: Final = 0.5  # seconds between two looks, or four times as long as the look itself took
BLIND_FOR: Final = 30.0  # seconds without the journal, after which the watch gives up
WATCHED: Final = N_("This only watches: to stop it, or to leave the page, stops no order.")


def _choose(fields: Mapping[str, str]) -> Chosen:
    return read.gather(fields, {}, {"backend": read.backend})


async def _preview(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    rows = await sh.backends_of(state, chosen.get("backend"))
    waiting = await kept.backlog(state.engine, chosen.get("backend"))
    names = [chosen["backend"]] if "backend" in chosen else sorted({*rows, *waiting})
    facts = [(name, f"{words.number(waiting.get(name, 0))} · {sh.how(rows.get(name), words)}") for name in names]
    for forecast in await draining(state.engine, state.settings):
        if forecast.backend in names:
            facts.append((words.gettext("Forecast of {0}").format(forecast.backend), outlook(forecast, words)))
    return Preview(
        orders=sum(waiting.values()), facts=facts, sees=digest_of("drain", chosen), warning=words.gettext(WATCHED)
    )


async def _run(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    began, before = time.monotonic(), await order_queries.counts(state.engine)
    total = await _left(state, chosen)
    async with transactional(state.engine).begin() as connection:
        await record(connection, "drain", reason, {**chosen, "backlog": total})
    await _watch(state, chosen, total, running)
    became = balance(before, await order_queries.counts(state.engine))
    return {
        "orders": sum(became.values()),
        **{name: count for name, count in became.items() if count},
        "seconds": round(time.monotonic() - began, 1),
    }


async def _watch(state: ConsoleState, chosen: Chosen, total: int, running: Running) -> None:
    left, seen = total, time.monotonic()
    while left:
        began, news = time.monotonic(), joined([])
        try:
            left, news = await _left(state, chosen), joined(await hindrances(state.engine))
            seen = time.monotonic()
        except Exception as error:
            if not unreachable(error) or time.monotonic() - seen > BLIND_FOR:
                raise
        total = max(total, left)
        await running.at(total - left, total, news)
        if left:
            await asyncio.sleep(max(LOOK_EVERY, 4 * (time.monotonic() - began)))


async def _left(state: ConsoleState, chosen: Chosen) -> int:
    return sum((await kept.backlog(state.engine, chosen.get("backend"))).values())


ACT: Final = Act(
    "drain",
    N_("Drain: wait until the backlog is empty"),
    N_("Watch it drain"),
    Role.OPERATOR,
    _choose,
    _preview,
    _run,
    long=True,
    told={
        "orders": N_("Became final meanwhile"),
        "delivered": N_("Delivered"),
        "dead": N_("Dead letters"),
        "cancelled": N_("Cancelled"),
        "discarded": N_("Discarded"),
        "seconds": N_("Seconds"),
    },
)
