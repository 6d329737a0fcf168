"""Diverting: chosen orders of the backlog go to another backend, in one statement, and to no two.

Only what is certainly ours moves: an order that is on its way, or whose last attempt at its backend ended in the
unknown, stays, unless an operator names it by its id and says so. The row's lock decides races with dispatch, claim
and settling; a message that was on its way claims nothing, for it names the backend that the order has left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.journal import snapshot, transactional
from orders.journal.connection import WAKE
from orders.states import State
from workers.backend_transitions import register
from workers.operations import record
from workers.replay.choice import CHOSEN, FIGURES, Choice, narrowed
from workers.replay.redrive import LISTED

SAMPLE: Final = 5  # orders that a preview shows
ON_THEIR_WAY: Final = (State.DISPATCHED, State.DELIVERING, State.SUBMITTED)

MOVABLE: Final = f"{CHOSEN} AND d.backend <> :to AND (NOT d.unsure OR :although_unknown)"

PREVIEW = text(f"""
SELECT {FIGURES}, count(*) FILTER (WHERE d.unsure) AS unknown, array_agg(DISTINCT d.backend) AS backends {MOVABLE}
""")

SAMPLED = text(f"""
SELECT o.id, o.pharmacy, o.reference, d.backend, d.accepted_at {MOVABLE} ORDER BY o.id LIMIT {SAMPLE}
""")

LEFT = text(f"SELECT count(*) {CHOSEN} AND d.backend <> :to AND (d.unsure OR d.state <> '{State.ACCEPTED}')")

# What was once diverted although it was unknown may be with a backend that it comes back to: that one is asked first.
DIVERT = text(f"""
WITH chosen AS (SELECT d.order_id, d.backend, d.unsure {MOVABLE} ORDER BY d.order_id FOR UPDATE OF d)
UPDATE deliveries d SET backend = :to, due_at = now(), attempts = 0, turn = 0, failed_at = NULL,
  unsure = d.unsure OR d.order_id IN (
    SELECT CAST(jsonb_array_elements_text(detail -> 'unknown') AS uuid) FROM operations WHERE act = 'divert')
FROM chosen WHERE d.order_id = chosen.order_id RETURNING d.order_id, chosen.backend, chosen.unsure
""")


async def preview(engine: AsyncEngine, choice: Choice, to: str, *, although_unknown: bool = False) -> dict[str, Any]:
    """What a divert of this choice would move, of one reading: orders, pharmacies, urgent, oldest, youngest, a sample.

    And how many it would leave behind because they may be with their backend: unknown there, or on their way.
    """
    values = {**choice.values(), "to": to, "although_unknown": although_unknown}
    async with snapshot(engine) as connection:
        found = dict((await connection.execute(PREVIEW, values)).mappings().one())
        found["sample"] = [dict(row) for row in (await connection.execute(SAMPLED, values)).mappings()]
        left = [await _left(connection, replace(choice, state=state), to) for state in (choice.state, *ON_THEIR_WAY)]
    found["left_unknown"] = left[0] - found["unknown"]
    found["left_on_their_way"] = sum(left[1:])
    return found


async def divert(
    engine: AsyncEngine, choice: Choice, to: str, reason: str, *, although_unknown: bool = False
) -> list[UUID]:
    """Move the chosen orders of the backlog to `to`, due at once; returns their ids.

    `although_unknown` moves those too that may be with their backend, and needs the choice to name them. Recorded
    with every id, those that were unknown apart.
    """
    if although_unknown and choice.ids is None:
        raise ValueError("what may be with its backend moves by its id only")
    async with transactional(engine).begin() as connection:
        await register(connection, to)
        return await _move(connection, choice, to, reason, although_unknown)


async def _move(
    connection: AsyncConnection, choice: Choice, to: str, reason: str, although_unknown: bool
) -> list[UUID]:
    values = {**choice.values(), "to": to, "although_unknown": although_unknown}
    moved = (await connection.execute(DIVERT, values)).all()
    detail = {"to": to, "choice": narrowed(choice)}
    for start in range(0, max(1, len(moved)), LISTED):
        await record(connection, "divert", reason, {**detail, "orders": len(moved), **_ids(moved[start:][:LISTED])})
    await connection.execute(WAKE)
    return [row.order_id for row in moved]


def _ids(moved: Sequence[Any]) -> dict[str, Any]:
    """The ids by the backend that they have left, and those that were unknown there."""
    left: dict[str, list[UUID]] = {}
    for row in moved:
        left.setdefault(row.backend, []).append(row.order_id)
    return {"ids": left, "unknown": [row.order_id for row in moved if row.unsure]}


async def _left(connection: AsyncConnection, choice: Choice, to: str) -> int:
    return int((await connection.execute(LEFT, {**choice.values(), "to": to})).scalar_one())
