"""Reading how the backends stand, each in one row: its circuit, what holds it, since when. Never writes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, func, select

from orders.journal import Source, reading_from
from orders.schema.tables.core import backends
from orders.schema.tables.trust import evidence
from orders.states import CircuitState

Row = dict[str, Any]

# Since when a backend's circuit is as it is; an outage began with the first failure, whatever canaries met since.
SINCE = case(
    (backends.c.circuit != CircuitState.CLOSED, func.coalesce(backends.c.failing_since, backends.c.changed_at)),
    else_=backends.c.changed_at,
).label("since")
CANARY_DUE = func.coalesce(backends.c.probe_at <= func.now(), False).label("canary_due")  # waits for an order only


async def standing(source: Source) -> list[Row]:
    """Every backend's row: circuit, window, failures, paused, quarantined and why; how much `evidence` there is; since
    when its circuit is as it is, that of an outage from its first failure on; whether the canary waits for an order.
    """
    pieces = select(func.count()).where(evidence.c.backend == backends.c.name).scalar_subquery()
    query = select(backends, SINCE, CANARY_DUE, pieces.label("evidence")).order_by(backends.c.name)
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings()]
