"""Why orders are not being forwarded: a sentence for each backend and replay that is held."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from orders.queries import backends as backend_rows
from orders.queries import replays as replay_queries
from orders.sentences import Code, Sentence
from orders.states import CircuitState, ReplayState
from workers.dispatch.leadership import leader
from workers.replay.gates import named


async def hindrances(engine: AsyncEngine) -> list[Sentence]:
    """Why orders are not being forwarded, a sentence for each backend that is held; none when all flow."""
    leading = await leader(engine)
    rows = await backend_rows.standing(engine)
    if not rows:
        return [Sentence(Code.NEVER_WORKED)]
    held = [why for row in rows if (why := hindrance(row, leading)) is not None]
    return held + [why for row in await replay_queries.standing(engine) if (why := stands(row)) is not None]


def stands(row: dict[str, Any]) -> Sentence | None:
    """Why this replay (a row of `replays.standing`) does not go on, or None when it does or is over."""
    code = {ReplayState.HOLDING: Code.REPLAY_HOLDS, ReplayState.PAUSED: Code.REPLAY_PAUSED}.get(row["state"])
    if code is None:
        return None
    return _because(Sentence(code, backend=row["backend"], stage=named(row["stage"])), row["why"])


def hindrance(row: dict[str, Any], leading: bool) -> Sentence | None:
    """Why this backend (a row of `standing`) gets nothing, or None."""
    name = row["name"]
    if row["quarantined"]:
        return _because(_quarantine(row), row["held_why"])
    if row["paused"]:
        return _because(Sentence(Code.PAUSED, backend=name), row["held_why"])
    return tripped(row) if leading else Sentence(Code.NO_WORKER)


def tripped(row: dict[str, Any]) -> Sentence | None:
    """What its circuit keeps back since when, and when a canary goes, or None while it is closed."""
    since = row["since"] and row["since"].astimezone(UTC)
    if row["circuit"] == CircuitState.HALF_OPEN:
        return Sentence(Code.CANARY_OUT, backend=row["name"], since=since)
    if row["circuit"] != CircuitState.OPEN:
        return None
    told = {"backend": row["name"], "since": since, "why": row["why"]}
    if row["paused"] or row["quarantined"]:
        return Sentence(Code.CANARY_HELD, **told)
    if row["canary_due"]:
        return Sentence(Code.CANARY_DUE, **told)
    return Sentence(Code.CIRCUIT_OPEN, **told, probe=row["probe_at"].astimezone(UTC))


def _quarantine(row: dict[str, Any]) -> Sentence:
    at, by = row.get("quarantined_at"), row.get("quarantined_by")
    if at is None:
        return Sentence(Code.QUARANTINED, backend=row["name"])
    return Sentence(Code.QUARANTINED_SINCE, backend=row["name"], since=at.astimezone(UTC), by=by)


def _because(what: Sentence, why: Sentence | None) -> Sentence:
    return Sentence(Code.BECAUSE, what=what, why=why) if why else what
