"""Chosen orders taken back for their pharmacies, some at a time, while they are certainly ours.

As `orders.intake.cancel` does it with one: what may be with an ERP stays as it is, and so does what somebody else has
in hand. Every batch is recorded with its ids.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.intake.order_log import tell_cancelled
from orders.journal import transactional
from orders.states import CANCELLABLE, TAKEN_BACK, State
from workers.operations import operator, record
from workers.replay import redrive
from workers.replay.choice import CHOSEN, Choice, narrowed

ACT: Final = "orders cancel"  # its name in `operations`
OURS: Final = " AND NOT d.unsure"  # an attempt that ended in the unknown may have left it with the ERP

CANCEL: Final = text(f"""
WITH chosen AS (
  SELECT d.order_id, o.request_id {CHOSEN}{OURS} ORDER BY d.order_id LIMIT :most FOR UPDATE OF d SKIP LOCKED
)
UPDATE deliveries d SET {TAKEN_BACK} FROM chosen WHERE d.order_id = chosen.order_id
RETURNING d.order_id, chosen.request_id
""")


async def moving(engine: AsyncEngine, choice: Choice) -> int:
    """How many more of the backlog fit and are on their way to the ERP: nobody can take those back just now."""
    if choice.state != State.ACCEPTED:
        return 0
    out = (State.DISPATCHED, State.DELIVERING)
    return sum([(await redrive.preview(engine, replace(choice, state=each)))["orders"] for each in out])


async def cancel(engine: AsyncEngine, choice: Choice, reason: str, most: int) -> list[UUID]:
    """Cancel the next of the chosen, `most` at most; their ids, none when none is left that can be had."""
    assert choice.state in CANCELLABLE
    async with transactional(engine).begin() as connection:
        found = (await connection.execute(CANCEL, {**choice.values(), "most": most})).all()
        ids = [row.order_id for row in found]
        if ids:
            await record(connection, ACT, reason, {"choice": narrowed(choice), "orders": len(ids), "ids": ids})
    for row in found:
        tell_cancelled(row.order_id, row.request_id, operator())
    return ids
