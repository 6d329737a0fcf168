"""The hot path, which reads like its recipe: claim, validate, submit, settle.

Whatever dies in between, the dispatcher rescues the orders, at once where the death is certain and else when the lease
runs out; nothing here cleans up.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from config.telemetry.spans import NOTHING, Span
from orders.errors import Malformed
from orders.journal import insist
from orders.model import parse
from orders.rules.catalogue import Catalogue, Register
from orders.rules.staleness import Policy
from orders.rules.validation import validate
from orders.states import Reason
from workers.delivery.claim import Claim, Claimed, claim, held
from workers.delivery.dispatch_result import DispatchResult, summed
from workers.delivery.judgement import Judgement, Result
from workers.delivery.retry_policy import Disposition, unfit
from workers.delivery.settle import settle
from workers.delivery.tracing import NONE, Contexts, delivering, note_outcomes
from workers.erp.bisecting import submit_bisecting
from workers.erp.port import Erp, Kind, Outcome, Submission
from workers.erp.receipts import believed
from workers.trust.life import ProcessLife


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """What one worker process delivers with; the orders that it claims are tied to its `life`, if that is told."""

    engine: AsyncEngine
    erp: Erp
    settings: Settings
    worker: str
    catalogue: Catalogue | None = None
    register: Register | None = None
    policy: Policy | None = None
    life: ProcessLife | None = None


async def deliver(resources: WorkerResources, ids: Sequence[UUID], dispatched: Contexts = NONE) -> DispatchResult:
    """Forward those of `ids` that may be forwarded now, and settle them; returns what became of them.

    `dispatched` are the contexts of the dispatches of those that are traced.
    """
    lease = await resources.life.lease() if resources.life is not None else None
    claimed = await claim(resources.engine, ids, resources.settings, lease)
    if claimed is None:
        orders, why = await held(resources.engine, ids, resources.settings)
        return DispatchResult(held=orders, elsewhere=len(ids) - orders, why=why)
    with delivering(resources.settings.erp.backend, claimed.orders, dispatched) as spans:
        settled = await _deliver(resources, claimed, spans)
    return summed(settled.dispositions.values(), len(ids))


async def _deliver(resources: WorkerResources, claimed: Claim, spans: Mapping[UUID, Span]) -> Judgement:
    began = time.monotonic()
    known = await _ask(resources, claimed)
    dead, fit = _validate(resources, claimed, [order for order in claimed.orders if order.id not in known])
    sent = await _submit(resources, fit, spans, resources.settings.delivery.batch_budget - (time.monotonic() - began))
    outcomes = {**known, **sent}
    note_outcomes(spans, outcomes)
    left = resources.settings.delivery.lease - (time.monotonic() - began)
    return await _settle(resources, claimed, dead, outcomes, left)


async def _ask(resources: WorkerResources, claimed: Claim) -> dict[UUID, Outcome]:
    """What the ERP knows of the orders that may be with it already; those it surely lacks are left out."""
    unsure = {order.id: order for order in claimed.orders if order.unsure}
    if not unsure or not resources.erp.capabilities.can_find:
        return {}
    answers = await resources.erp.find(list(unsure), budget=resources.settings.delivery.batch_budget / 3)
    return {
        order_id: believed(outcome, unsure[order_id].body, unsure[order_id].digest)
        for order_id, outcome in answers.items()
        if outcome.kind is not Kind.ABSENT
    }


def _validate(
    resources: WorkerResources, claimed: Claim, orders: Sequence[Claimed]
) -> tuple[dict[UUID, Disposition], list[Claimed]]:
    """Split a batch into dead letters, with all their reasons, and orders that are fit to forward."""
    found = [(order, _unfit(resources, order, claimed.at)) for order in orders]
    dead = {order.id: disposition for order, disposition in found if disposition is not None}
    return dead, [order for order, disposition in found if disposition is None]


def _unfit(resources: WorkerResources, order: Claimed, now: datetime) -> Disposition | None:
    try:
        parsed = parse(order.body)
    except Malformed as error:  # accepted by an intake that knew other rules than this worker
        return unfit(Reason.INVALID, str(error), order.attempts, now)
    # An ERP that cannot be asked may have what is unsure: whether that is too old is no longer ours to say.
    policy = resources.policy if resources.erp.capabilities.can_find or not order.unsure else None
    verdict = validate(
        parsed, now=now, catalogue=resources.catalogue, register=resources.register, since=order.since, policy=policy
    )
    if verdict is None:
        return None
    faults = "; ".join(f"{fault.field}: {fault.message}" for fault in verdict.faults)
    return unfit(verdict.reason, faults, order.attempts, now, verdict.sentence())


async def _submit(
    resources: WorkerResources, fit: Sequence[Claimed], spans: Mapping[UUID, Span], budget: float
) -> dict[UUID, Outcome]:
    orders = [
        Submission(order.id, order.body, order.digest, order.request_id, spans.get(order.id, NOTHING).traceparent)
        for order in fit
    ]
    if not orders:
        return {}
    if resources.erp.capabilities.atomic_batches:
        return await submit_bisecting(resources.erp, orders, budget=budget)
    return await resources.erp.submit(orders, budget=budget)


async def _settle(
    resources: WorkerResources,
    claimed: Claim,
    dead: dict[UUID, Disposition],
    outcomes: dict[UUID, Outcome],
    remaining: float,
) -> Judgement:
    before = {order.id: (order.attempts, order.failed_at) for order in claimed.orders}
    requests = {order.id: order.request_id for order in claimed.orders}
    result = Result(claimed.lease, claimed.at, claimed.waited, before, dead, outcomes, requests=requests)
    return await insist(lambda: settle(resources.engine, result, resources.settings, resources.worker), remaining)
