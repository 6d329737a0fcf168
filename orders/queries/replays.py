"""How replays stand, for whoever shows them: the CLI, the status, a watch. Never writes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from orders.journal import Source, reading_from
from orders.schema.sentence_column import SentenceColumn
from orders.sentences import sentence_of
from orders.states import PARTS_OF_REPLAY, ReplayState

STANDING = text(f"""
SELECT r.id, r.backend, r.state, r.stage, r.passed, r.hold, r.orders, r.why, r.stage_since, r.started_at,
  r.started_by, r.ended_at, r.history, r.choice, cardinality(r.staged) AS staged,
  CASE WHEN r.ended_at IS NULL THEN
    {" + ".join(f"(SELECT count(*) FROM deliveries WHERE backend = r.backend AND {part})" for part in PARTS_OF_REPLAY)}
  END AS "left"
FROM replays r WHERE CASE WHEN CAST(:id AS bigint) IS NULL THEN
  r.ended_at IS NULL OR r.id = (SELECT max(id) FROM replays l WHERE l.backend = r.backend) ELSE r.id = :id END
ORDER BY r.backend, r.id
""").columns(why=SentenceColumn())


async def standing(source: Source, number: int | None = None) -> list[dict[str, Any]]:
    """Each backend's newest replay, or that of the number: state, stage, why, and how many orders are not final."""
    async with reading_from(source) as connection:
        found = (await connection.execute(STANDING, {"id": number})).mappings().all()
    return [{**row, "history": [_told(each) for each in row["history"]]} for row in found]


def _told(tried: dict[str, Any]) -> dict[str, Any]:
    return {**tried, "failed": sentence_of(tried["failed"])}


def stuck(row: dict[str, Any]) -> bool:
    """True when a gate made this replay hold, so that only an operator's word takes it on."""
    return bool(row["state"] == ReplayState.HOLDING and row["passed"] != row["stage"])
