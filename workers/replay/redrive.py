"""Chosen orders put through again at once, with the same idempotency keys, or given up.

What is chosen becomes due now, and an open circuit sends its canary at once; the window still rules how much of it
reaches the ERP. This is for dead letters; a whole backlog goes stage by stage (`workers.replay.commands`). Every act is
previewed by the same query that does it, and recorded with its ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.journal import Source, reading_from, transactional
from orders.journal.connection import WAKE
from orders.queries.mappings import WHOLLY_MAPPED
from orders.states import BACKLOG, Reason, State
from workers.backend_transitions import probe_now
from workers.operations import record
from workers.replay.choice import CHOSEN, FIGURES, Choice, narrowed

PREVIEW = text(f"SELECT {FIGURES} {CHOSEN}")

SAMPLE: Final = 10  # orders that a look shows
# Count and sample of one reading; each row of the sample has the count.
LOOK: Final = f"""
SELECT o.id, o.pharmacy, o.reference, d.reason, d.accepted_at, count(*) OVER () AS orders,
  count(*) FILTER (WHERE d.priority = 0) OVER () AS urgent, min(d.accepted_at) OVER () AS oldest,
  max(d.accepted_at) OVER () AS youngest,
  bit_xor(hashtextextended(CAST(d.order_id AS text), 0)) OVER () AS which
{CHOSEN}{{beside}} ORDER BY d.order_id LIMIT {SAMPLE}
"""

ALL: Final = "FOR UPDATE OF d"
# Those that another act has in hand are left to it.
SOME: Final = "ORDER BY d.cause, d.settled_at, d.order_id LIMIT :most FOR UPDATE OF d SKIP LOCKED"

_AGAIN = f"""
WITH chosen AS (SELECT d.order_id {CHOSEN} {{which}})
UPDATE deliveries d SET state = '{State.ACCEPTED}', due_at = now(), attempts = 0, failed_at = NULL, reason = NULL,
  settled_at = NULL, turn = 0, aged_from = CASE WHEN d.reason = '{Reason.STALE}' THEN now() ELSE d.aged_from END
FROM chosen WHERE d.order_id = chosen.order_id RETURNING d.order_id
"""
_DISCARD = f"""
WITH chosen AS (SELECT d.order_id {CHOSEN} {{which}})
UPDATE deliveries d SET state = '{State.DISCARDED}', settled_at = now()
FROM chosen WHERE d.order_id = chosen.order_id RETURNING d.order_id
"""
MAPPED: Final = f"AND {WHOLLY_MAPPED}"
MAPPED_ONLY = text(f"SELECT count(*) {CHOSEN} {MAPPED}")
# While the backend's row is locked no row is waited for that another act has locked: that one may wait for the former.
AGAIN_MAPPED = text(_AGAIN.format(which=f"{MAPPED} ORDER BY d.order_id FOR UPDATE OF d SKIP LOCKED"))
LOCKED = text("SELECT FROM backends WHERE name = :backend FOR UPDATE")

AGAIN, DISCARD = (text(each.format(which=ALL)) for each in (_AGAIN, _DISCARD))
AGAIN_SOME, DISCARD_SOME = (text(each.format(which=SOME)) for each in (_AGAIN, _DISCARD))

STATES = text("SELECT state, count(*) FROM deliveries WHERE order_id = ANY(CAST(:ids AS uuid[])) GROUP BY state")

LISTED = 10_000  # ids written into an operation's detail at most; whatever more there are, into others


async def preview(source: Source, choice: Choice) -> dict[str, Any]:
    """What an act on this choice would touch: orders, pharmacies, urgent, oldest, youngest."""
    async with reading_from(source) as connection:
        return dict((await connection.execute(PREVIEW, choice.values())).mappings().one())


async def look(engine: AsyncEngine, choice: Choice, beside: str = "") -> list[dict[str, Any]]:
    """The first SAMPLE of what an act on this choice would touch, of the same reading as `orders`, how many they are.

    Each row has id, pharmacy, reference, reason, accepted_at, and of all: orders, urgent, oldest, youngest, and
    `which`, a number that is another for other orders. `beside` is what the act asks of them beside, as SQL.
    """
    async with engine.connect() as connection:
        found = await connection.execute(text(LOOK.format(beside=beside)), choice.values())
        return [dict(row) for row in found.mappings()]


async def replay(engine: AsyncEngine, choice: Choice, reason: str, most: int | None = None) -> list[UUID]:
    """Make the chosen orders due now, and an open circuit's canary with them; returns their ids.

    Those whose place another order has stay as they are. With `most` that many at a time, without those that another
    act has in hand; nothing is recorded for none.
    """
    choice = replace(choice, fit=True)
    async with transactional(engine).begin() as connection:
        ids = await _act(connection, "replay", AGAIN if most is None else AGAIN_SOME, choice, reason, most)
        if ids:
            await probe_now(connection)
            await connection.execute(WAKE)
    return ids


def mapped_in(backend: str) -> Choice:
    """The dead letters that an import of codes may put through again."""
    return Choice(State.DEAD, reason=Reason.UNMAPPED, backend=backend)


async def count_mapped(connection: AsyncConnection, backend: str) -> int:
    """How many dead letters `replay_mapped` would put through again."""
    return int((await connection.execute(MAPPED_ONLY, mapped_in(backend).values())).scalar_one())


async def replay_mapped(connection: AsyncConnection, backend: str, reason: str) -> list[UUID]:
    """As `replay`, in the caller's transaction, what is dead for codes that are all mapped by now.

    Locks the backend's row: a batch that is settled meanwhile, by the mapping as it was, waits for the commit and looks
    again (`workers.delivery.settle`).
    """
    await connection.execute(LOCKED, {"backend": backend})
    choice = mapped_in(backend)
    ids = [row[0] for row in await connection.execute(AGAIN_MAPPED, choice.values())]
    if ids:
        await _record(connection, "replay", choice, reason, ids)
        await probe_now(connection, backend)
        await connection.execute(WAKE)
    return ids


async def discard(engine: AsyncEngine, choice: Choice, reason: str, most: int | None = None) -> list[UUID]:
    """Give up the chosen dead letters for good; returns their ids. `most` as in `replay`."""
    async with transactional(engine).begin() as connection:
        return await _act(connection, "discard", DISCARD if most is None else DISCARD_SOME, choice, reason, most)


async def _act(
    connection: AsyncConnection, act: str, statement: TextClause, choice: Choice, reason: str, most: int | None
) -> list[UUID]:
    values = choice.values() if most is None else {**choice.values(), "most": most}
    ids = [row[0] for row in await connection.execute(statement, values)]
    if most is not None and not ids:
        return ids
    await _record(connection, act, choice, reason, ids)
    return ids


async def _record(connection: AsyncConnection, act: str, choice: Choice, reason: str, ids: list[UUID]) -> None:
    for start in range(0, max(1, len(ids)), LISTED):
        some = ids[start:][:LISTED]
        await record(connection, act, reason, {"choice": narrowed(choice), "orders": len(some), "ids": some})


async def states(engine: AsyncEngine, ids: Sequence[UUID]) -> dict[str, int]:
    """How many of these orders are in each state; states without any are left out."""
    async with engine.connect() as connection:
        return {row[0]: int(row[1]) for row in await connection.execute(STATES, {"ids": list(ids)})}


async def left(engine: AsyncEngine, ids: Sequence[UUID]) -> int:
    """How many of these orders are not yet final."""
    return sum(count for state, count in (await states(engine, ids)).items() if state in BACKLOG)
