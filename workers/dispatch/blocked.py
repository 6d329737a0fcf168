"""Why orders are not being forwarded: a sentence for each backend and replay that is held."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from orders.queries import orders as order_queries
from orders.queries import replays as replay_queries
from workers.dispatch.leadership import leader
from workers.replay.gates import named


async def hindrances(engine: AsyncEngine) -> list[str]:
    """Why orders are not being forwarded, a sentence for each backend that is held; none when all flow."""
    leading = await leader(engine)
    rows = await order_queries.standing(engine)
    if not rows:
        return ["no worker has ever run here"]
    held = [why for row in rows if (why := hindrance(row, leading)) is not None]
    return held + [why for row in await replay_queries.standing(engine) if (why := stands(row)) is not None]


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
        return f"{name}: the circuit is open: {row['why']}; next canary at {row['probe_at'].astimezone(UTC):%H:%M:%SZ}"
    if row["circuit"] == "half_open":
        return f"{name}: one canary is out"
    return None


def _quarantine(row: dict[str, Any]) -> str:
    at, by = row.get("quarantined_at"), row.get("quarantined_by")
    return f"in quarantine since {at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ} by {by}" if at else "in quarantine"
