"""How the webhooks stand, and what they are still to be told. Never writes, and shows no secret."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.journal import Source, reading_from

Row = dict[str, Any]

STANDING = (
    "CASE WHEN disabled_at IS NOT NULL THEN 'disabled' WHEN failing_since IS NOT NULL THEN 'failing' ELSE 'fit' END"
)
STANDINGS = text(f"SELECT {STANDING} AS standing FROM webhooks")  # of the secrets who shows figures reads nothing

EVERY = text(f"""
SELECT w.client, w.url, cardinality(w.secrets) AS secrets, w.created_at, w.succeeded_at, w.failing_since,
  w.disabled_at, w.why, {STANDING} AS standing, n.waiting, (SELECT at FROM events WHERE id = n.first) AS oldest
FROM webhooks w CROSS JOIN LATERAL (
  SELECT count(*) AS waiting, min(event_id) AS first FROM notices WHERE client = w.client AND told_at IS NULL) n
ORDER BY w.client
""")

# Of every client that is to be told anything, also of one that has no webhook any more.
WAITING = text("""
SELECT n.client, n.notices, (SELECT at FROM events WHERE id = n.first) AS oldest, n.failed, n.error
FROM (SELECT client, count(*) AS notices, min(event_id) AS first, count(error) AS failed,
    mode() WITHIN GROUP (ORDER BY error) AS error
  FROM notices WHERE told_at IS NULL GROUP BY client) n ORDER BY n.client
""")

NOTICES = text("""
SELECT n.id, n.order_id, e.state, e.at, n.due_at, n.attempts, n.error
FROM notices n JOIN events e ON e.id = n.event_id
WHERE n.client = :client AND n.told_at IS NULL ORDER BY n.event_id LIMIT :limit
""")


async def every(source: Source) -> list[Row]:
    """All webhooks: client, url, secrets (how many), times, why, standing (fit, failing, disabled), waiting (how many
    notices), oldest (the event that waits longest).
    """
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(EVERY)).mappings()]


async def waiting(source: Source) -> list[Row]:
    """Who is still to be told: client, notices, oldest, failed (notices that were tried), error (the commonest)."""
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(WAITING)).mappings()]


async def notices(engine: AsyncEngine, client: str, limit: int) -> list[Row]:
    """What a client is still to be told, the oldest first: id, order_id, state, at, due_at, attempts, error."""
    async with engine.connect() as connection:
        found = await connection.execute(NOTICES, {"client": client, "limit": limit})
        return [dict(row) for row in found.mappings()]


async def figures(source: Source) -> Row:
    """For a status: how many webhooks are fit, failing and disabled; notices waiting, and since when."""
    async with reading_from(source) as connection:
        standings = list((await connection.execute(STANDINGS)).scalars())
    late = await waiting(source)
    return {
        **{standing: standings.count(standing) for standing in ("fit", "failing", "disabled")},
        "waiting": sum(row["notices"] for row in late),
        "oldest": min((row["oldest"] for row in late), default=None),
    }
