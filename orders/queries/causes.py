"""Reading causes: the groups of dead letters, the members of one, what operators noted about it.

A group's number is `causes.n` and what is not yet summed up, in one statement, hence that of one snapshot. No list
reads more dead letters than it shows: one for each group as its sample, and the members of a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.errors import NotFound
from orders.journal import Source, reading_from
from orders.refusals import NotDone
from orders.schema.sentence_column import SentenceColumn
from orders.sentences import Sentence
from orders.states import State

Row = dict[str, Any]
LONGEST_NOTE: Final = 1000  # characters

_FRESH: Final = """fresh AS (
  SELECT cause, CAST(sum(n) AS bigint) AS n, max(last_at) AS last_at FROM cause_tallies GROUP BY cause
)"""
_SHOWN: Final = """c.id, c.backend, c.reason, c.status, c.message, c.first_at"""

# What has moved since the last summing up is few rows; all else comes in the order of the index.
_GROUPS: Final = f"""WITH {_FRESH}, settled AS (
  SELECT {_SHOWN}, c.last_at, c.n AS orders FROM causes c WHERE c.n > 0 AND (c.n, c.id) < (:n, :id){{where}}
    AND NOT EXISTS (SELECT FROM fresh f WHERE f.cause = c.id) ORDER BY c.n DESC, c.id DESC LIMIT :limit
), moved AS (
  SELECT {_SHOWN}, greatest(c.last_at, f.last_at) AS last_at, c.n + f.n AS orders
  FROM fresh f JOIN causes c ON c.id = f.cause WHERE c.n + f.n > 0 AND (c.n + f.n, c.id) < (:n, :id){{where}}
)
SELECT g.*, s.order_id AS sample, now() AS shown_at FROM (
  SELECT * FROM settled UNION ALL SELECT * FROM moved ORDER BY orders DESC, id DESC LIMIT :limit) g
LEFT JOIN LATERAL (
  SELECT order_id FROM deliveries d WHERE d.state = '{State.DEAD}' AND d.cause = g.id
  ORDER BY d.cause, d.settled_at, d.order_id LIMIT 1) s ON true
ORDER BY g.orders DESC, g.id DESC"""

_ONE: Final = text(f"""WITH {_FRESH}
SELECT {_SHOWN}, greatest(c.last_at, f.last_at) AS last_at, c.n + coalesce(f.n, 0) AS orders, now() AS shown_at
FROM causes c LEFT JOIN fresh f ON f.cause = c.id WHERE c.id = :id""")

_CODES: Final = text(f"""
SELECT c.id, s.why FROM unnest(CAST(:causes AS bigint[])) AS c (id) CROSS JOIN LATERAL (
  SELECT why FROM deliveries d WHERE d.state = '{State.DEAD}' AND d.cause = c.id
  ORDER BY d.cause, d.settled_at, d.order_id LIMIT 1) s WHERE s.why IS NOT NULL""").columns(why=SentenceColumn())

_MEMBERS: Final = text(f"""
SELECT m.order_id AS id, o.pharmacy, o.reference, m.accepted_at, m.settled_at, m.attempts, m.priority FROM (
  SELECT order_id, accepted_at, settled_at, attempts, priority FROM deliveries
  WHERE state = '{State.DEAD}' AND cause = :cause AND (settled_at, order_id) > (:settled_at, :id)
  ORDER BY cause, settled_at, order_id LIMIT :limit) m
LEFT JOIN orders o ON o.id = m.order_id ORDER BY m.settled_at, m.order_id""")

_EDGES: Final = text(f"""
SELECT (SELECT settled_at FROM deliveries WHERE state = '{State.DEAD}' AND cause = :cause
    ORDER BY cause, settled_at, order_id LIMIT 1) AS oldest,
  (SELECT settled_at FROM deliveries WHERE state = '{State.DEAD}' AND cause = :cause AND settled_at <= :before
    ORDER BY cause DESC, settled_at DESC, order_id DESC LIMIT 1) AS youngest,
  (SELECT count(*) FROM deliveries
    WHERE state = '{State.DEAD}' AND cause = :cause AND settled_at > :before) AS joined""")

_TOTAL: Final = text(f"""
SELECT coalesce(CAST(sum(CASE name WHEN 'fate' THEN n ELSE -n END) AS bigint), 0) FROM tallies
WHERE name IN ('fate', 'left') AND label = '{State.DEAD}'""")

_NOTES: Final = text("""
SELECT at, operator, words FROM cause_notes WHERE cause = :cause ORDER BY cause DESC, id DESC LIMIT :limit""")
_NOTE: Final = text("INSERT INTO cause_notes (cause, operator, words) VALUES (:cause, :operator, :words)")

FIRST: Final = (2**62, 2**62)  # a place before every group
FROM_START: Final = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


async def groups(
    source: Source,
    *,
    reason: str | None = None,
    backend: str | None = None,
    before: tuple[int, int] = FIRST,
    limit: int = 200,
) -> list[Row]:
    """The causes that orders stand dead of, most orders first, from after the place `before` (orders, id) on.

    Each with id, backend, reason, status, message, first_at, last_at, orders, sample (an order's id), shown_at.
    """
    wanted = {name: value for name, value in (("reason", reason), ("backend", backend)) if value is not None}
    where = "".join(f" AND c.{name} = :{name}" for name in wanted)
    values = {"n": before[0], "id": before[1], "limit": limit, **wanted}
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(text(_GROUPS.format(where=where)), values)).mappings()]


async def group(source: Source, cause: int) -> Row:
    """One cause, also when nobody stands dead of it any more: as `groups`, without a sample. Raises NotFound."""
    async with reading_from(source) as connection:
        found = (await connection.execute(_ONE, {"id": cause})).mappings().one_or_none()
    if found is None:
        raise NotFound(Sentence(NotDone.NO_CAUSE, cause=cause))
    return dict(found)


async def codes(source: Source, causes: Sequence[int]) -> dict[int, Sentence]:
    """Why the first order of each cause is dead without an attempt, by cause, where the journal has it as a code."""
    async with reading_from(source) as connection:
        return {row.id: row.why for row in await connection.execute(_CODES, {"causes": [*causes]})}


async def members(
    source: Source, cause: int, *, after: tuple[datetime, UUID] | None = None, limit: int = 50
) -> list[Row]:
    """The orders that stand dead of it, who died first first, from after the place (settled_at, id) on.

    Each with id, pharmacy, reference, accepted_at, settled_at, attempts, priority.
    """
    at, order_id = after or FROM_START
    values = {"cause": cause, "settled_at": at, "id": order_id, "limit": limit}
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(_MEMBERS, values)).mappings()]


async def edges(source: Source, cause: int, before: datetime) -> Row:
    """When the first and the last of a cause died until `before`, and how many `joined` it since."""
    async with reading_from(source) as connection:
        return dict((await connection.execute(_EDGES, {"cause": cause, "before": before})).mappings().one())


async def total(source: Source) -> int:
    """How many dead letters there are, by the tallies."""
    async with reading_from(source) as connection:
        return int((await connection.execute(_TOTAL)).scalar_one())


async def notes(source: Source, cause: int, limit: int = 50) -> list[Row]:
    """What operators noted about a cause, the newest first: at, operator, words."""
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(_NOTES, {"cause": cause, "limit": limit})).mappings()]


async def note(connection: AsyncConnection, cause: int, operator: str, words: str) -> None:
    """Add a note; `words` has at most LONGEST_NOTE characters."""
    await connection.execute(_NOTE, {"cause": cause, "operator": operator, "words": words})
