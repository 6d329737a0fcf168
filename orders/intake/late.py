"""Orders whose `valid_until` is over when they come: refused at once, but for those that were accepted in time.

Only the journal can say that an order is not the same again of one that it has, and its clock decides. While it is
away, a late order goes into the spill like any other: turned away, its sender would take an order that may have been
delivered for one that was never taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.errors import PAST, Malformed, RelaisError
from orders.intake.entries import Accepted, Entry

LATE: Final = text("""
SELECT t.id FROM unnest(CAST(:id AS uuid[]), CAST(:valid_until AS timestamptz[])) AS t (id, valid_until)
WHERE t.valid_until < clock_timestamp()
""")


def seem_late(entries: Sequence[Entry]) -> list[Entry]:
    """Those that are late by this process's own clock."""
    now = datetime.now(UTC)
    return [each for each in entries if each.valid_until is not None and each.valid_until < now]


async def refusals(connection: AsyncConnection, entries: Sequence[Entry]) -> dict[UUID, Accepted | RelaisError]:
    """What is said of those that are late by the journal's clock, by their ids, unless they were accepted before."""
    if not entries:
        return {}
    values = {"id": [each.id for each in entries], "valid_until": [each.valid_until for each in entries]}
    return {row[0]: Malformed([PAST]) for row in await connection.execute(LATE, values)}
