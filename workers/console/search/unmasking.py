"""Asking for an order's free text: an act that is recorded, and shows that one order to that one person for a while."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import NotFound
from orders.journal import transactional
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console.access.people import Person, Role
from workers.operations import acting_as, record

UNMASK: Final = "unmask"
SHOWN_FOR: Final = timedelta(minutes=5)

ASKED: Final = text("""
SELECT max(at) FROM operations
WHERE detail ? 'order' AND detail ->> 'order' = :order AND act = :act AND operator = :operator AND at > :since
""")
THERE: Final = text("SELECT clock_timestamp() FROM orders WHERE id = :order")


async def unmasked_until(connection: AsyncConnection, order: UUID, person: Person, now: datetime) -> datetime | None:
    """Until when this person sees this order's free text; None when they have not asked lately."""
    if not person.role.covers(Role.OPERATOR):
        return None
    values = {"order": str(order), "act": UNMASK, "operator": person.name, "since": now - SHOWN_FOR}
    asked = (await connection.execute(ASKED, values)).scalar()
    return None if asked is None else asked + SHOWN_FOR


async def unmask(engine: AsyncEngine, order: UUID, person: Person, reason: str) -> None:
    """Let this person see this order's free text for a while, and record it. Raises NotFound."""
    async with transactional(engine).begin() as connection:
        if (await connection.execute(THERE, {"order": order})).scalar() is None:
            raise NotFound(Sentence(NotDone.UNKNOWN_ORDER, order=order))
        with acting_as(person.name):
            await record(connection, UNMASK, reason, {"order": str(order)})
