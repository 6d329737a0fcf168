"""The hot path, which reads like its recipe: claim, validate, map, submit, settle.

Whatever dies in between, the dispatcher rescues the orders, at once where the death is certain and else when the lease
runs out; nothing here cleans up.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from config.telemetry.spans import NOTHING, Span
from orders.errors import Malformed
from orders.journal import insist
from orders.model import Order, parse
from orders.rules.catalogue import Catalogue, Register
from orders.rules.staleness import Policy
from orders.rules.validation import validate
from orders.sentences import Sentence
from orders.states import Reason
from workers.delivery.claim import Claim, Claimed, claim, held
from workers.delivery.dispatch_result import DispatchResult, summed
from workers.delivery.judgement import Judgement, Result
from workers.delivery.retry_policy import Disposition, asked_later, doubted, unfit
from workers.delivery.settle import settle
from workers.delivery.tracing import NONE, Contexts, delivering, note_outcomes
from workers.erp.bisecting import submit_bisecting
from workers.erp.port import Erp, Kind, Mapped, Outcome, Submission
from workers.erp.receipts import believed
from workers.mapping.current_mapping import CurrentMapping
from workers.mapping.substitutes import in_our_codes
from workers.trust.life import ProcessLife


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """What one worker process delivers with; the orders that it claims are tied to its `life`, if that is told.

    `mapping` is needed where the ERP's capabilities ask for it.
    """

    engine: AsyncEngine
    erp: Erp
    settings: Settings
    worker: str
    catalogue: Catalogue | None = None
    register: Register | None = None
    policy: Policy | None = None
    life: ProcessLife | None = None
    mapping: CurrentMapping | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """An order that may be forwarded: as claimed, as read, and as the ERP calls what it names, where that is asked."""

    claimed: Claimed
    order: Order
    mapped: Mapped | None = None


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
    known, early = await _ask(resources, claimed)
    asked = known.keys() | early.keys()
    dead, fit = _validate(resources, claimed, [order for order in claimed.orders if order.id not in asked])
    unmapped, fit, version = await _map(resources, claimed, fit)
    sent = await _submit(resources, fit, spans, resources.settings.delivery.batch_budget - (time.monotonic() - began))
    note_outcomes(spans, {**known, **sent})
    left = resources.settings.delivery.lease - (time.monotonic() - began)
    sent = await named(resources, sent, left)
    certain, mapping = {**early, **dead, **unmapped}, version if unmapped else None
    return await _settle(resources, claimed, certain, known, sent, left, mapping)


async def named(resources: WorkerResources, outcomes: Mapping[UUID, Outcome], remaining: float) -> dict[UUID, Outcome]:
    """The outcomes with what is delivered in a product's place named as orders name it, where the ERP has names of its
    own. Raises what the journal raises.
    """
    mapping = resources.mapping if resources.erp.capabilities.mapped else None
    return await in_our_codes(outcomes, mapping, remaining)


async def _ask(resources: WorkerResources, claimed: Claim) -> tuple[dict[UUID, Outcome], dict[UUID, Disposition]]:
    """What the ERP knows of the orders that may be with it already, and what becomes of those that it lacks and may
    have later; those it surely lacks are left out.
    """
    unsure = {order.id: order for order in claimed.orders if order.unsure}
    can = resources.erp.capabilities
    if not unsure or not can.can_find:
        return {}, {}
    budget = resources.settings.delivery.batch_budget / 3
    answers = await named(resources, await resources.erp.find(list(unsure), budget=budget), budget)
    known, early = {}, {}
    rules = {"substitutes": resources.settings.erp.allow_substitution, "echoed": can.echoes_digest}
    for order_id, outcome in answers.items():
        order = unsure[order_id]
        if outcome.kind is not Kind.ABSENT:
            known[order_id] = believed(outcome, order.body, order.digest, **rules)
        elif (doubt := doubted(outcome, order.sent_at, claimed.at, can.absent_after)).kind is Kind.UNKNOWN:
            early[order_id] = asked_later(doubt, order.attempts, claimed.at)
    return known, early


def _validate(
    resources: WorkerResources, claimed: Claim, orders: Sequence[Claimed]
) -> tuple[dict[UUID, Disposition], list[Fit]]:
    """Split a batch into dead letters, with all their reasons, and orders that are fit to forward."""
    found = [(order, _read(resources, order, claimed.at)) for order in orders]
    dead = {order.id: verdict for order, verdict in found if isinstance(verdict, Disposition)}
    return dead, [verdict for _, verdict in found if isinstance(verdict, Fit)]


def _read(resources: WorkerResources, order: Claimed, now: datetime) -> Fit | Disposition:
    try:
        parsed = parse(order.body)
    except Malformed as error:  # accepted by an intake that knew other rules than this worker
        return unfit(Reason.INVALID, str(error), order.attempts, now)
    # An ERP that cannot be asked may have what is unsure: whether that is too old is no longer ours to say.
    policy = resources.policy if not _may_be_there(resources, order) else None
    verdict = validate(
        parsed, now=now, catalogue=resources.catalogue, register=resources.register, since=order.since, policy=policy
    )
    if verdict is None:
        return Fit(order, parsed)
    faults = "; ".join(f"{fault.field}: {fault.message}" for fault in verdict.faults)
    return unfit(verdict.reason, faults, order.attempts, now, verdict.sentence())


def _may_be_there(resources: WorkerResources, order: Claimed) -> bool:
    return order.unsure and not resources.erp.capabilities.can_find


async def _map(
    resources: WorkerResources, claimed: Claim, fit: list[Fit]
) -> tuple[dict[UUID, Disposition], list[Fit], int]:
    """Split a batch into what the mapping has no names for, and the rest; and the mapping's version.

    Raises what the journal raises.
    """
    if not fit or not resources.erp.capabilities.mapped:
        return {}, fit, 0
    mapping = resources.mapping
    assert mapping is not None, "a connector that needs a mapping is opened with one"
    await insist(mapping.renew, resources.settings.delivery.batch_budget / 3)
    found = [(each, mapping.of(each.order)) for each in fit]
    unmapped = {
        each.claimed.id: unfit(
            Reason.UNMAPPED,
            str(told),
            each.claimed.attempts,
            claimed.at,
            told,
            unsure=_may_be_there(resources, each.claimed),
        )
        for each, told in found
        if isinstance(told, Sentence)
    }
    return unmapped, [replace(each, mapped=told) for each, told in found if isinstance(told, Mapped)], mapping.version


async def _submit(
    resources: WorkerResources, fit: Sequence[Fit], spans: Mapping[UUID, Span], budget: float
) -> dict[UUID, Outcome]:
    orders = [_submission(each, spans) for each in fit]
    if not orders:
        return {}
    if resources.erp.capabilities.atomic_batches:
        return await submit_bisecting(resources.erp, orders, budget=budget)
    return await resources.erp.submit(orders, budget=budget)


def _submission(fit: Fit, spans: Mapping[UUID, Span]) -> Submission:
    claimed = fit.claimed
    traceparent = spans.get(claimed.id, NOTHING).traceparent
    return Submission(claimed.id, claimed.body, claimed.digest, claimed.request_id, traceparent, fit.order, fit.mapped)


async def _settle(
    resources: WorkerResources,
    claimed: Claim,
    certain: dict[UUID, Disposition],
    known: dict[UUID, Outcome],
    sent: dict[UUID, Outcome],
    remaining: float,
    mapping: int | None,
) -> Judgement:
    before = {order.id: (order.attempts, order.failed_at) for order in claimed.orders}
    requests = {order.id: order.request_id for order in claimed.orders}
    result = Result(
        claimed.lease,
        claimed.at,
        claimed.waited,
        before,
        certain,
        {**known, **sent},
        requests=requests,
        mapping=mapping,
        sent={order_id for order_id, outcome in sent.items() if outcome.kind is not Kind.UNSENT},
    )
    return await insist(lambda: settle(resources.engine, result, resources.settings, resources.worker), remaining)
