"""Orders that the ERP took and accepts later: ask what became of them, and settle those that it has decided.

A poll takes a lease as a claim does, so that the last one to ask is the one that settles.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import text

from orders.states import Reason, State
from workers.delivery import Desk
from workers.erp.port import Kind, Outcome
from workers.fate import Fate
from workers.settle import Result, settle

TAKE = text("""
UPDATE deliveries SET lease = :lease
WHERE order_id = ANY(CAST(:ids AS uuid[])) AND state = 'submitted' AND backend = :backend
RETURNING order_id, attempts, clock_timestamp()
""")

DECIDED = frozenset({Kind.ACCEPTED, Kind.DUPLICATE, Kind.REFUSED})


async def poll(desk: Desk, ids: Sequence[UUID]) -> int:
    """Ask the ERP about submitted orders and settle them; returns how many it has decided."""
    lease = uuid4()
    async with desk.engine.connect() as connection:
        wanted = {"lease": lease, "ids": list(ids), "backend": desk.settings.backend}
        rows = (await connection.execute(TAKE, wanted)).all()
    if not rows:
        return 0
    attempts = {row[0]: row[1] for row in rows}
    outcomes = await desk.erp.poll(list(attempts), budget=desk.settings.batch_budget)
    later = rows[0][2] + timedelta(seconds=desk.settings.poll_after)
    fates = {order_id: _fate(outcome, attempts[order_id], later) for order_id, outcome in outcomes.items()}
    decided = {order_id: outcome for order_id, outcome in outcomes.items() if outcome.kind in DECIDED}
    before = {order_id: (counted, None) for order_id, counted in attempts.items()}
    result = Result(lease, rows[0][2], 0.0, before, fates, decided)
    await settle(desk.engine, result, desk.settings, desk.worker)
    return len(decided)


def _fate(outcome: Outcome, attempts: int, later: datetime) -> Fate:
    """Delivered, dead, forgotten (goes again), or still to be asked about."""
    if outcome.kind in (Kind.ACCEPTED, Kind.DUPLICATE):
        return Fate(State.DELIVERED, later, attempts)
    if outcome.kind is Kind.REFUSED:
        return Fate(State.DEAD, later, attempts, reason=Reason.REFUSED, error=outcome.detail)
    if outcome.kind is Kind.ABSENT:
        return Fate(State.ACCEPTED, later, attempts, error="the ERP took it and has forgotten it")
    return Fate(State.SUBMITTED, later, attempts, error=outcome.detail or None)
