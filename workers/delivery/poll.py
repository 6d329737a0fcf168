"""Orders that the ERP took and accepts later: ask what became of them, and settle those that it has decided.

A poll takes a lease as a claim does, so that the last one to ask is the one that settles.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import text

from orders.states import POLLED
from workers.delivery.deliver import WorkerResources, named
from workers.delivery.dispatch_result import DispatchResult, summed
from workers.delivery.judgement import Result
from workers.delivery.retry_policy import POLL_PAUSE, doubted, forgotten, pending
from workers.delivery.settle import settle
from workers.erp.outcomes import DELIVERED
from workers.erp.port import Kind
from workers.erp.receipts import believed

DECIDED = frozenset({*DELIVERED, Kind.REFUSED})
ANSWERED = frozenset({*DECIDED, Kind.PENDING, Kind.ABSENT})

TAKE = text(f"""
UPDATE deliveries d SET lease = :lease FROM orders o
WHERE d.order_id = ANY(CAST(:ids AS uuid[])) AND o.id = d.order_id AND {POLLED} AND backend = :backend
  AND EXISTS (SELECT FROM backends WHERE name = :backend AND NOT quarantined)
RETURNING d.order_id, d.attempts, d.sent_at, clock_timestamp() AS at, o.body, o.digest, o.request_id
""")


async def poll(resources: WorkerResources, ids: Sequence[UUID]) -> DispatchResult:
    """Ask the ERP about submitted orders and settle them; returns what became of them. In quarantine none is asked."""
    lease, settings = uuid4(), resources.settings
    async with resources.engine.connect() as connection:
        rows = (
            await connection.execute(TAKE, {"lease": lease, "ids": list(ids), "backend": settings.erp.backend})
        ).all()
    if not rows:
        return DispatchResult(elsewhere=len(ids))
    taken = {row.order_id: row for row in rows}
    budget = settings.delivery.batch_budget
    answers = await named(resources, await resources.erp.poll(list(taken), budget=budget), budget)
    can = resources.erp.capabilities
    rules = {"substitutes": settings.erp.allow_substitution, "echoed": can.echoes_digest}
    found = {i: believed(each, taken[i].body, taken[i].digest, **rules) for i, each in answers.items()}
    outcomes = {i: doubted(each, taken[i].sent_at, rows[0].at, can.absent_after) for i, each in found.items()}
    decided = {i: each for i, each in outcomes.items() if each.kind in DECIDED or each.evidence}
    later = rows[0].at + timedelta(seconds=POLL_PAUSE)
    result = Result(
        lease,
        rows[0].at,
        0.0,
        before={i: (row.attempts, None) for i, row in taken.items()},
        certain={i: forgotten(taken[i].attempts, later) for i, each in outcomes.items() if each.kind is Kind.ABSENT},
        outcomes=decided,
        otherwise={i: pending(outcomes[i], row.attempts, later) for i, row in taken.items()},
        requests={i: row.request_id for i, row in taken.items()},
    )
    settled = await settle(resources.engine, result, settings, resources.worker)
    silent = [each.detail for i, each in found.items() if i not in decided and each.kind not in ANSWERED]
    return summed(settled.dispositions.values(), len(ids), silent)
