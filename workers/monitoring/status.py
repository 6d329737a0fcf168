"""How Relais stands, in figures that cost little however large the journal is.

What stops forwarding is told in one sentence by `hindrance`, the same wherever an operator meets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.errors import first_line
from config.redis_keys import ASIDE, NORMAL, SPILL_ASIDE, SPILL_RECORDS, URGENT, queue_of
from config.settings import Settings
from config.settings.routes_file import load_backends
from orders.journal import snapshot, unreachable
from orders.states import FINAL
from workers.dispatch.blocked import hindrance, stands
from workers.monitoring.headline import Facts, headlines
from workers.monitoring.intake import IntakeAnswer, ask_intake
from workers.monitoring.snapshot import Snapshot, read_figures

if TYPE_CHECKING:
    from workers.forecast.foretold import Forecast

BACKEND_FIGURES = [
    "name",
    "circuit",
    "window",
    "rate",
    "failures",
    "trips",
    "paused",
    "quarantined",
    "quarantined_at",
    "quarantined_by",
    "held_why",
    "evidence",
    "why",
    "probe_at",
    "unique_reference",
    "absent_after",
    "ack_within",
    "set_aside",
]
READ_TIMEOUT = 2.0  # s for Redis


KNOCK = 2.0  # s for the journal to let somebody in; one that is frozen does not say no
SILENT = "it does not answer"


@dataclass(frozen=True, slots=True)
class Queue:
    """Whether Redis answers, how many messages wait in it, how many orders in the spill, its memory in bytes (without
    a limit `memory_max` is None), how many messages, none of ours, workers have set aside, and how many forged records
    of the spill stayed in Redis.
    """

    reachable: bool
    depth: int | None
    spilled: int | None
    error: str | None = None
    memory: int | None = None
    memory_max: int | None = None
    aside: int | None = None
    forged: int | None = None

    @property
    def share(self) -> float | None:
        """Of the memory that it may use, how much it does; None where it has no limit, or says nothing."""
        return self.memory / self.memory_max if self.memory is not None and self.memory_max else None


async def status(engine: AsyncEngine, settings: Settings, api_url: str) -> dict[str, Any]:
    """How the journal, Redis and the intake stand. While the journal is away, `journal` says why and its figures are
    missing: that is when somebody looks.
    """
    (figures, journal), waiting, api = await asyncio.gather(
        _journal(engine, settings), queue(settings), ask_intake(api_url)
    )
    told = [{"grade": each.grade, "text": each.text} for each in headlines(_facts(figures, waiting, api))]
    return {"headline": told, **journal, "queue": waiting, "api": {**asdict(api), "ready": api.ready}}


def _facts(figures: Snapshot | None, queue: Queue, api: IntakeAnswer) -> Facts:
    """As the headline is made of it. One look does not know since when something is away; an intake may."""
    return Facts(
        journal=figures.facts() if figures is not None else None,
        journal_up=figures is not None,
        journal_since=api.journal_answered_at if figures is None else None,
        redis_up=queue.reachable,
        spilled=queue.spilled or 0,
        memory=queue.share,
        mode=api.mode,
        intake_up=api.mode is not None,
        intake_silent=api.silent,
    )


async def _journal(engine: AsyncEngine, settings: Settings) -> tuple[Snapshot | None, dict[str, Any]]:
    """What the journal says, and what follows from it, in one snapshot."""
    try:
        async with AsyncExitStack() as held:
            async with asyncio.timeout(KNOCK):
                connection = await held.enter_async_context(snapshot(engine))
            figures = await read_figures(connection, settings)
            foretold = await _foretold(connection, settings) if figures.waiting else []
            return figures, {**told(figures, load_backends(settings)), "forecast": foretold}
    except TimeoutError:
        return None, {"journal": SILENT, "leader": None}
    except Exception as error:
        if not unreachable(error):
            raise
        return None, {"journal": first_line(error), "leader": None}


async def _foretold(connection: AsyncConnection, settings: Settings) -> list[Forecast]:
    """When each backlog will be empty; where there is none, `relais status` does without the forecast's modules."""
    from workers.forecast.forecast import draining

    return await draining(connection, settings)


def told(found: Snapshot, ours: Collection[str]) -> dict[str, Any]:
    """Figures of the journal as a report has them; `ours` are the backends of the settings."""
    return {
        "journal": None,
        "at": found.at,
        "backends": [{**_backend(row, found, ours), "out": found.out(row["name"])} for row in found.backends],
        "replays": [{**row, "held": stands(row)} for row in found.replays],
        "orders": found.orders,
        "backlog": found.waiting,
        "oldest": found.oldest,
        "waiting": found.backlog,
        "oldest_by_priority": found.oldest_by_priority,
        "fates": found.dispositions,
        "flow": found.recent,
        "leader": found.leading,
        "asides": found.asides,
        "webhooks": found.webhooks,
        "seals": found.seals,
        "audit": found.audit,
        "workers": found.workers,
        "weak": found.weak,
    }


async def queue(settings: Settings) -> Queue:
    """Ask Redis, for at most READ_TIMEOUT each to connect and for its answer."""
    if settings.queue.url is None:
        return Queue(False, None, None, "RELAIS_REDIS_URL is not set")
    from config.redis import RedisError, close_redis, open_redis

    client = open_redis(settings.queue.url, READ_TIMEOUT)
    try:
        async with client.pipeline(transaction=False) as asked:
            asked.info("memory")
            asked.llen(SPILL_RECORDS)
            asked.llen(SPILL_ASIDE)
            for name in (queue_of(kind, each) for each in load_backends(settings) for kind in (URGENT, NORMAL)):
                asked.llen(name)
            asked.xinfo_stream(ASIDE)
            memory, spilled, forged, *waiting, aside = await asked.execute(raise_on_error=False)
        if failed := [each for each in (memory, spilled, forged, *waiting) if isinstance(each, Exception)]:
            raise failed[0]
        told = 0 if isinstance(aside, Exception) else int(aside["entries-added"])  # no stream before the first
        return Queue(
            True, sum(waiting), spilled, None, memory["used_memory"], memory["maxmemory"] or None, told, forged
        )
    except (RedisError, OSError) as error:
        return Queue(False, None, None, first_line(error))
    finally:
        await close_redis(client)


def _backend(row: dict[str, Any], found: Snapshot, ours: Collection[str]) -> dict[str, Any]:
    """A row for a report; one of a backend that the settings no longer name gets nothing from any worker."""
    late = next((each for each in found.overdue if each["backend"] == row["name"]), None)
    codes = next((each for each in found.unmapped if each["backend"] == row["name"]), None)
    return {
        **{name: row[name] for name in BACKEND_FIGURES},
        "since": row["since"],
        "succeeded_at": row["succeeded_at"],
        "overdue": late["orders"] if late else 0,
        "overdue_since": late["oldest"] if late else None,
        "unmapped": codes["orders"] if codes else 0,
        "unmapped_codes": codes["codes"] if codes else 0,
        "set_aside_at": row["set_aside_at"],
        "held": hindrance(row, found.leading)
        if row["name"] in ours
        else f"{row['name']} is none of the backends any more",
    }


def balance(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """How many orders became final, by state, between two counts."""
    return {str(state): after[state] - before[state] for state in FINAL}
