"""The steps of an order that workers and dispatcher log, and the acts of operators: a line each, and no free text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.telemetry import order_log
from config.telemetry.order_log import Field
from workers.delivery.retry_policy import Fate
from workers.erp.port import Kind, Outcome

OVERLAP: Final = 100  # operations may be committed in another order than that of their numbers

NEWEST = text("SELECT coalesce(max(id), 0) FROM operations WHERE at < clock_timestamp() - interval '1 minute'")
# A cancellation is the client's own, and has been told by the intake.
ACTS = text("""
SELECT id, operator, act, detail->>'backend' AS backend, detail->>'orders' AS orders FROM operations
WHERE id > :after AND act <> 'order cancel' ORDER BY id LIMIT 1000
""")


def tell_settled(
    fates: Mapping[UUID, Fate], outcomes: Mapping[UUID, Outcome], requests: Mapping[UUID, str | None], backend: str
) -> None:
    """A line for each order that was settled: what its attempt came to, and what becomes of it. None was made of
    those that were never sent.
    """
    if order_log.wanted():
        rows = [_settled(i, fate, outcomes.get(i), requests.get(i), backend) for i, fate in fates.items()]
        order_log.say("settle", [row for row in rows if row["outcome"] != Kind.UNSENT])


def _settled(
    order_id: UUID, fate: Fate, outcome: Outcome | None, request: str | None, backend: str
) -> dict[str, Field]:
    return {
        "order": order_id,
        "request": request,
        "backend": backend,
        "state": fate.state,
        "outcome": outcome.kind if outcome else None,
        "status": outcome.status if outcome else None,
        "reason": fate.reason,
        "attempts": fate.attempts,
        "ms": _milliseconds(outcome),
    }


def _milliseconds(outcome: Outcome | None) -> int | None:
    if outcome is None or outcome.started is None or outcome.ended is None:
        return None
    return round((outcome.ended - outcome.started).total_seconds() * 1000)


def tell_rows(event: str, rows: Iterable[Sequence[Any]], backend: str) -> None:
    """A line for each (order_id, request_id, state) that the dispatcher changed by itself."""
    if order_log.wanted():
        order_log.say(
            event, [{"order": row[0], "request": row[1], "backend": backend, "state": row[2]} for row in rows]
        )


class Acts:
    """Tells of each operator's act, from the journal, so that those of every console come into one log.

    What was done a minute before a term or earlier is not told; what a leader told less than a minute before another
    one's term stands in both their logs.
    """

    def __init__(self) -> None:
        """Lasts as long as the process, over all its terms."""
        self._begun = False
        self._newest = 0
        self._told: set[int] = set()

    def begin_term(self) -> None:
        """Others may have led since, and told."""
        self._begun = False

    async def tell(self, connection: AsyncConnection) -> None:
        """A line for each act since the last time: who, what, to which backend, to how many orders."""
        if not order_log.wanted():
            return
        if not self._begun:
            before = (await connection.execute(NEWEST)).scalar_one()
            self._newest, self._begun = max(self._newest, before), True
            self._told |= {*range(before - OVERLAP, before + 1)}
        rows = (await connection.execute(ACTS, {"after": self._newest - OVERLAP})).all()
        fresh = [row for row in rows if row.id not in self._told]
        order_log.say(
            "operation",
            [{"operator": row.operator, "act": row.act, "backend": row.backend, "count": row.orders} for row in fresh],
        )
        self._newest = max([self._newest, *(row.id for row in fresh)])
        self._told = {i for i in self._told | {row.id for row in fresh} if i > self._newest - OVERLAP}
