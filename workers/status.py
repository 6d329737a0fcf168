"""How Relais stands, in figures that cost little however large the journal is.

What stops forwarding is told in one sentence by `hindrance`, the same wherever an operator meets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.backends import load_backends
from config.settings import Settings
from orders import reading, replay_reading, webhook_reading
from orders.journal import unreachable
from orders.states import BACKLOG, FINAL
from workers.dispatcher import LEADER_LOCK
from workers.gates import named
from workers.proof.standing import sealing
from workers.spill import RECORDS

RECENT = timedelta(minutes=1)
TAIL = 4000  # pages of `attempts`, some 200,000 rows; it is append-only, so the newest rows are its last pages
READY = ("journal", "spill")
PATIENCE = 2.0  # s for Redis and for the API each

LEADER = text("""
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = :key AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")

ACCEPTED = text("SELECT count(*) FROM orders WHERE id >= :since")

PAGES = text("SELECT pg_relation_size('attempts') / current_setting('block_size')::bigint, now()")

TRIED = text("""
SELECT count(*) FILTER (WHERE outcome IN ('accepted', 'duplicate')) AS delivered,
  count(*) FILTER (WHERE outcome NOT IN ('accepted', 'duplicate', 'pending')) AS failed, min(ended_at) AS since
FROM attempts WHERE ctid >= CAST(CAST(:page AS text) AS tid) AND ended_at > :since
""")


@dataclass(frozen=True, slots=True)
class Flow:
    """Orders accepted, delivered and attempts that failed in the last `seconds`, a minute or less."""

    accepted: int
    delivered: int
    failed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Queue:
    """Whether Redis answers, how many messages wait in it, and how many orders in the spill."""

    reachable: bool
    depth: int | None
    spilled: int | None
    error: str | None = None


async def status(engine: AsyncEngine, settings: Settings, api_url: str) -> dict[str, Any]:
    """How the journal, Redis and the intake stand. While the journal is away, `journal` says why and its figures are
    missing: that is when somebody looks.
    """
    journal, waiting, mode = await asyncio.gather(
        _journal(engine, settings), asyncio.to_thread(queue, settings), intake_mode(api_url)
    )
    return {**journal, "queue": waiting, "api": {"url": api_url, "ready": mode in READY, "mode": mode}}


async def _journal(engine: AsyncEngine, settings: Settings) -> dict[str, Any]:
    """What the journal says: backends, orders by state, flow, leader, seals, what was set aside of the spill."""
    ours = load_backends(settings)
    try:
        counts = await reading.counts(engine)
        rows, leading, recent = await reading.standing(engine), await leader(engine), await flow(engine)
        steps = [row for row in await replay_reading.standing(engine) if row["ended_at"] is None]
        backlog, asides = await reading.backlog(engine), await reading.asides_by_kind(engine)
        webhooks, seals = await webhook_reading.figures(engine), await sealing(engine, settings)
    except Exception as error:
        if not unreachable(error):
            raise
        return {"journal": (str(error).splitlines() or [type(error).__name__])[0], "leader": False}
    return {
        "journal": None,
        "backends": [_backend(row, leading, ours) for row in rows],
        "replays": [{**row, "held": stands(row)} for row in steps],
        "orders": counts,
        "backlog": sum(counts[state] for state in BACKLOG),
        "oldest": min((row["oldest"] for row in backlog), default=None),
        "waiting": backlog,
        "flow": recent,
        "leader": leading,
        "asides": asides,
        "webhooks": webhooks,
        "seals": seals,
    }


async def hindrances(engine: AsyncEngine) -> list[str]:
    """Why orders are not being forwarded, a sentence for each backend that is held; none when all flow."""
    leading = await leader(engine)
    rows = await reading.standing(engine)
    if not rows:
        return ["no worker has ever run here"]
    held = [why for row in rows if (why := hindrance(row, leading)) is not None]
    return held + [why for row in await replay_reading.standing(engine) if (why := stands(row)) is not None]


def stands(row: dict[str, Any]) -> str | None:
    """Why this replay (a row of `replays.standing`) does not go on, or None when it does or is over."""
    if row["state"] not in ("holding", "paused"):
        return None
    why = f": {row['why']}" if row["why"] else ""
    return f"the replay of {row['backend']} is {row['state']} at {named(row['stage'])}{why}"


def hindrance(row: dict[str, Any], leading: bool) -> str | None:
    """Why this backend (a row of `standing`) gets nothing, or None."""
    name = row["name"]
    if row["quarantined"] or row["paused"]:
        held = "paused" if not row["quarantined"] else _quarantine(row)
        return f"{name} is {held}: {row['held_why']}" if row["held_why"] else f"{name} is {held}"
    if not leading:
        return "no worker is running"
    if row["circuit"] == "open":
        return (
            f"{name}: the circuit is open: {row['why']}; next canary at {row['probe_at'].astimezone(UTC):%H:%M:%SZ}"
        )
    if row["circuit"] == "half_open":
        return f"{name}: one canary is out"
    return None


def _quarantine(row: dict[str, Any]) -> str:
    at, by = row.get("quarantined_at"), row.get("quarantined_by")
    return f"in quarantine since {at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ} by {by}" if at else "in quarantine"


async def leader(engine: AsyncEngine) -> bool:
    """True when some worker's dispatcher holds the lead."""
    async with engine.connect() as connection:
        return (await connection.execute(LEADER, {"key": LEADER_LOCK})).first() is not None


async def flow(engine: AsyncEngine) -> Flow:
    """What went through lately, from the newest rows only."""
    async with engine.connect() as connection:
        pages, now = (await connection.execute(PAGES)).one()
        since = now - RECENT
        accepted = (await connection.execute(ACCEPTED, {"since": reading.first_id(since)})).scalar_one()
        first = max(0, pages - TAIL)
        row = (await connection.execute(TRIED, {"page": f"({first},0)", "since": since})).one()
    whole = first == 0 or row.since is None
    seconds = RECENT.total_seconds() if whole else (now - row.since).total_seconds()
    return Flow(int(accepted), int(row.delivered), int(row.failed), seconds)


def queue(settings: Settings) -> Queue:
    """Ask Redis, as the dispatcher does, for at most a few seconds."""
    from kombu import Connection
    from kombu.exceptions import KombuError
    from redis.exceptions import RedisError

    from config.celeryconfig import depth

    options = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE, "max_retries": 0}
    if settings.redis_url is None:
        return Queue(False, None, None, "RELAIS_REDIS_URL is not set")
    try:
        with Connection(settings.redis_url, transport_options=options) as connection:
            spilled = int(connection.default_channel.client.llen(RECORDS))
            return Queue(True, depth(connection, *load_backends(settings)), spilled)
    except (KombuError, RedisError, OSError) as error:
        return Queue(False, None, None, (str(error).splitlines() or [type(error).__name__])[0])


async def intake_mode(url: str) -> str | None:
    """Where the intake at `url` keeps what comes now: journal, spill, or refusing; None without an answer."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{url}/readyz") as answer:
            return str((await answer.json(content_type=None))["mode"])
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError):
        return None


def _backend(row: dict[str, Any], leading: bool, ours: Collection[str]) -> dict[str, Any]:
    """A row for a report; one of a backend that the settings no longer name gets nothing from any worker."""
    shown = (
        "name", "circuit", "window", "rate", "failures", "trips", "paused", "quarantined", "quarantined_at",
        "quarantined_by", "held_why", "evidence", "why", "probe_at",
    )  # fmt: skip
    return {
        **{name: row[name] for name in shown},
        "since": row["changed_at"],
        "succeeded_at": row["succeeded_at"],
        "held": hindrance(row, leading) if row["name"] in ours else f"{row['name']} is none of the backends any more",
    }


def balance(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """How many orders became final, by state, between two counts."""
    return {str(state): after[state] - before[state] for state in FINAL}
