"""The hot path, which reads like its recipe: claim, validate, submit, settle.

Whatever dies in between, the lease runs out and the dispatcher rescues the orders; nothing here cleans up.
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
from orders.states import Reason, State
from workers.delivery.claim import Claim, Claimed, claim
from workers.delivery.retry_policy import Disposition
from workers.delivery.settle import Result, settle
from workers.delivery.tracing import NONE, Contexts, delivering, note_outcomes
from workers.erp.bisecting import submit_bisecting
from workers.erp.port import Erp, Kind, Outcome, Submission
from workers.erp.receipts import believed


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """What one worker process delivers with."""

    engine: AsyncEngine
    erp: Erp
    settings: Settings
    worker: str
    catalogue: Catalogue | None = None
    register: Register | None = None
    policy: Policy | None = None


async def deliver(desk: WorkerResources, ids: Sequence[UUID], dispatched: Contexts = NONE) -> int:
    """Forward those of `ids` that may be forwarded now, and settle them; returns how many were claimed.

    `dispatched` are the contexts of the dispatches of those that are traced.
    """
    claimed = await claim(desk.engine, ids, desk.settings)
    if claimed is None:
        return 0
    with delivering(desk.settings.backend, claimed.orders, dispatched) as spans:
        await _deliver(desk, claimed, spans)
    return len(claimed.orders)


async def _deliver(desk: WorkerResources, claimed: Claim, spans: Mapping[UUID, Span]) -> None:
    began = time.monotonic()
    known = await _ask(desk, claimed)
    fates, fit = _validate(desk, claimed, [order for order in claimed.orders if order.id not in known])
    sent = await _submit(desk, fit, spans, desk.settings.batch_budget - (time.monotonic() - began))
    outcomes = {**known, **sent}
    note_outcomes(spans, outcomes)
    await _settle(desk, claimed, fates, outcomes, desk.settings.lease - (time.monotonic() - began))


async def _ask(desk: WorkerResources, claimed: Claim) -> dict[UUID, Outcome]:
    """What the ERP knows of the orders that may be with it already; those it surely lacks are left out."""
    unsure = {order.id: order for order in claimed.orders if order.unsure}
    if not unsure or not desk.erp.capabilities.can_find:
        return {}
    answers = await desk.erp.find(list(unsure), budget=desk.settings.batch_budget / 3)
    return {
        order_id: believed(outcome, unsure[order_id].body, unsure[order_id].digest)
        for order_id, outcome in answers.items()
        if outcome.kind is not Kind.ABSENT
    }


def _validate(
    desk: WorkerResources, claimed: Claim, orders: Sequence[Claimed]
) -> tuple[dict[UUID, Disposition], list[Claimed]]:
    """Split a batch into dead letters, with all their reasons, and orders that are fit to forward."""
    fates: dict[UUID, Disposition] = {}
    fit: list[Claimed] = []
    for order in orders:
        fate = _unfit(desk, order, claimed.at)
        if fate is None:
            fit.append(order)
        else:
            fates[order.id] = fate
    return fates, fit


def _unfit(desk: WorkerResources, order: Claimed, now: datetime) -> Disposition | None:
    try:
        parsed = parse(order.body)
    except Malformed as error:  # accepted by an intake that knew other rules than this worker
        return Disposition(State.DEAD, now, order.attempts - 1, reason=Reason.INVALID, error=str(error))
    # An ERP that cannot be asked may have what is unsure: whether that is too old is no longer ours to say.
    policy = desk.policy if desk.erp.capabilities.can_find or not order.unsure else None
    verdict = validate(
        parsed, now=now, catalogue=desk.catalogue, register=desk.register, since=order.since, policy=policy
    )
    if verdict is None:
        return None
    reasons = "; ".join(f"{fault.field}: {fault.message}" for fault in verdict.faults)
    return Disposition(State.DEAD, now, order.attempts - 1, reason=verdict.reason, error=reasons)


async def _submit(
    desk: WorkerResources, fit: Sequence[Claimed], spans: Mapping[UUID, Span], budget: float
) -> dict[UUID, Outcome]:
    orders = [
        Submission(order.id, order.body, order.digest, order.request_id, spans.get(order.id, NOTHING).traceparent)
        for order in fit
    ]
    if not orders:
        return {}
    if desk.erp.capabilities.atomic_batches:
        return await submit_bisecting(desk.erp, orders, budget=budget)
    return await desk.erp.submit(orders, budget=budget)


async def _settle(
    desk: WorkerResources,
    claimed: Claim,
    fates: dict[UUID, Disposition],
    outcomes: dict[UUID, Outcome],
    remaining: float,
) -> None:
    before = {order.id: (order.attempts, order.failed_at) for order in claimed.orders}
    requests = {order.id: order.request_id for order in claimed.orders}
    result = Result(claimed.lease, claimed.at, claimed.waited, before, fates, outcomes, requests=requests)
    await insist(lambda: settle(desk.engine, result, desk.settings, desk.worker), remaining)
