"""Orders that the ERP took and accepts later: ask what became of them, and settle those that it has decided.

A poll takes a lease as a claim does, so that the last one to ask is the one that settles.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import text

from orders.states import Reason, State
from workers.delivery.deliver import WorkerResources
from workers.delivery.retry_policy import POLL_PAUSE, Disposition
from workers.delivery.settle import Result, settle
from workers.erp.port import Kind, Outcome
from workers.erp.receipts import believed

TAKE = text("""
UPDATE deliveries d SET lease = :lease FROM orders o
WHERE d.order_id = ANY(CAST(:ids AS uuid[])) AND o.id = d.order_id AND state = 'submitted' AND backend = :backend
  AND EXISTS (SELECT FROM backends WHERE name = :backend AND NOT quarantined)
RETURNING d.order_id, d.attempts, clock_timestamp() AS at, o.body, o.digest, o.request_id
""")

DECIDED = frozenset({Kind.ACCEPTED, Kind.DUPLICATE, Kind.REFUSED})


async def poll(desk: WorkerResources, ids: Sequence[UUID]) -> int:
    """Ask the ERP about submitted orders and settle them; returns how many it has decided. In quarantine none is."""
    lease = uuid4()
    async with desk.engine.connect() as connection:
        wanted = {"lease": lease, "ids": list(ids), "backend": desk.settings.backend}
        rows = (await connection.execute(TAKE, wanted)).all()
    if not rows:
        return 0
    taken = {row.order_id: row for row in rows}
    answers = await desk.erp.poll(list(taken), budget=desk.settings.batch_budget)
    outcomes = {i: believed(answer, taken[i].body, taken[i].digest) for i, answer in answers.items()}
    later = rows[0].at + timedelta(seconds=POLL_PAUSE)
    fates = {i: _fate(outcome, taken[i].attempts, later) for i, outcome in outcomes.items()}
    decided = {i: outcome for i, outcome in outcomes.items() if outcome.kind in DECIDED or outcome.evidence}
    before = {i: (row.attempts, None) for i, row in taken.items()}
    still = {
        i: Disposition(State.SUBMITTED, later, row.attempts, error=outcomes[i].detail or None)
        for i, row in taken.items()
    }
    requests = {row.order_id: row.request_id for row in rows}
    result = Result(lease, rows[0].at, 0.0, before, fates, decided, still, requests)
    await settle(desk.engine, result, desk.settings, desk.worker)
    return len(decided)


def _fate(outcome: Outcome, attempts: int, later: datetime) -> Disposition:
    """Delivered, dead, forgotten (goes again), or still to be asked about."""
    if outcome.kind in (Kind.ACCEPTED, Kind.DUPLICATE):
        return Disposition(State.DELIVERED, later, attempts)
    if outcome.kind is Kind.REFUSED:
        return Disposition(
            State.DEAD, later, attempts, reason=Reason.REFUSED, error=outcome.detail, status=outcome.status
        )
    if outcome.kind is Kind.ABSENT:
        return Disposition(State.ACCEPTED, later, attempts, error="the ERP took it and has forgotten it")
    return Disposition(State.SUBMITTED, later, attempts, error=outcome.detail or None)
