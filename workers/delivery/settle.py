"""Settling: one transaction a batch writes fates, attempts, receipts, evidence and the backend's circuit, or none.

What proves that the backend is not to be trusted quarantines it in this very transaction, which commits only when no
worker process sends to it any more (`workers.trust.barrier`). Answers of a backend in quarantine settle nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields, replace
from datetime import datetime
from statistics import fmean
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from orders.journal import transactional
from orders.journal.connection import DUE_CHANNEL
from orders.schema.tables.core import backends
from orders.sentences import Code, Sentence
from workers.delivery import evidence
from workers.delivery.backend_state import BatchCounts, Circuit
from workers.delivery.baseline import Baseline, learn
from workers.delivery.circuit_breaker import advance
from workers.delivery.order_log import tell_settled
from workers.delivery.records import write_attempts, write_fates, write_receipts
from workers.delivery.retry_policy import ANSWERED, FAILED, SUCCEEDED, Disposition, decide
from workers.erp.port import ErpReceipt, Evidence, Kind, Outcome
from workers.trust.barrier import halted

log = logging.getLogger("relais.settle")

CIRCUIT = [backends.c[each.name] for each in fields(Circuit)]
NORM = [backends.c[each.name] for each in fields(Baseline)]
STANDING = select(backends.c.quarantined, func.clock_timestamp().label("now"), *CIRCUIT, *NORM)
LAST = text(f"SELECT pg_notify('{DUE_CHANNEL}', ''), ({evidence.REUSED}) AS reused")


@dataclass(frozen=True, slots=True)
class Result:
    """A batch as it comes back: the outcomes of its calls, and fates that are certain whatever the circuit says.

    `before` has of each order the attempts that count, this one included, and when it last failed. `otherwise` has
    the fates of orders whose answer does not count because the backend is not trusted; without one it goes again.
    `requests` has the ids of the requests that brought them, for the log.
    """

    lease: UUID
    claimed_at: datetime
    waited: float
    before: Mapping[UUID, tuple[int, datetime | None]]
    fates: Mapping[UUID, Disposition]
    outcomes: Mapping[UUID, Outcome]
    otherwise: Mapping[UUID, Disposition] = field(default_factory=dict)
    requests: Mapping[UUID, str | None] = field(default_factory=dict)


class Doubted(Exception):
    """What was about to be settled cannot stand; the transaction is to be rolled back, and done once more.

    The backend was quarantined meanwhile, or the receipts of these orders have references of other orders.
    """

    def __init__(self, reused: frozenset[UUID] = frozenset()) -> None:
        super().__init__()
        self.reused = reused


async def settle(engine: AsyncEngine, result: Result, settings: Settings, worker: str) -> None:
    """Record what came of a batch, in one transaction. Raises what the journal raises; safe to call again."""
    while True:
        proof = evidence.proof(result.outcomes)
        latching = halted(engine, settings.backend) if proof else transactional(engine).begin()
        try:
            async with latching as connection:
                fates = await _settle(connection, result, proof, settings, worker)
            return tell_settled(fates, result.outcomes, result.requests, settings.backend)
        except Doubted as doubt:
            result = replace(result, outcomes=evidence.doubted(result.outcomes, doubt.reused))


async def _settle(
    connection: AsyncConnection, result: Result, proof: tuple[UUID, Outcome] | None, settings: Settings, worker: str
) -> dict[UUID, Disposition]:
    here = STANDING.where(backends.c.name == settings.backend)
    standing = (await connection.execute(here)).one()
    quarantined = standing.quarantined
    if quarantined or proof is not None:
        since = None if quarantined or proof is None else proof[1].ended
        result = replace(result, outcomes=evidence.withheld(result.outcomes, since))
    met = tally(result)
    fates = _fates(result, met, standing, settings, trusted=not quarantined and proof is None)
    settled = await write_fates(connection, result.lease, fates)
    outcomes = evidence.standing(result.outcomes, settled)
    await write_attempts(connection, result.lease, outcomes, worker)
    receipts = await write_receipts(connection, result.lease, outcomes, settled, settings.backend)
    await evidence.write(connection, settings.backend, result.lease, evidence.found(outcomes))
    await _write_backend(connection, result.lease, met, settings, quarantined, proof)
    await _finish(connection, receipts, settings)
    if len(settled) < len(fates):
        log.warning("fenced", extra={"orders": len(fates) - len(settled), "lease": result.lease})
    return {order_id: fates[order_id] for order_id in settled}


def tally(result: Result) -> BatchCounts:
    """What the circuit needs to know of a batch."""
    kinds = [outcome.kind for outcome in result.outcomes.values()]
    failed = [outcome for outcome in result.outcomes.values() if outcome.kind in FAILED]
    succeeded = [o for o in result.outcomes.values() if o.kind in SUCCEEDED and o.ended and o.started]
    suspicious = next((outcome.detail for outcome in failed if outcome.kind is Kind.SUSPICIOUS), None)
    took = [(o.ended - o.started).total_seconds() for o in succeeded if o.ended and o.started]
    return BatchCounts(
        answered=sum(kind in ANSWERED for kind in kinds),
        failed=len(failed),
        throttled=kinds.count(Kind.THROTTLED),
        claimed_at=result.claimed_at,
        waited=result.waited,
        succeeded_at=max((o.ended for o in succeeded if o.ended), default=None),
        suspicious=suspicious,
        error=failed[0].detail if failed else None,
        refused=kinds.count(Kind.REFUSED),
        seconds=fmean(took) if took else None,
        retried=sum(outcome.calls > 1 for outcome in result.outcomes.values()),
    )


def _fates(
    result: Result, met: BatchCounts, standing: Row[Any], settings: Settings, *, trusted: bool
) -> dict[UUID, Disposition]:
    """Decide each order that was tried.

    A first failure may be the beginning of an outage and never counts; a further one counts when other orders have
    succeeded since the last. Both are the times of the ERP's answers, not of settling: a batch that went well
    before an outage may be settled after one that met it. What an untrusted backend does counts against no order.
    """
    successes = [at for at in (standing.succeeded_at, met.succeeded_at) if at is not None]
    fates = {}
    for order_id, outcome in result.outcomes.items():
        attempts, failed_at = result.before[order_id]
        if outcome.kind not in ANSWERED and order_id in result.otherwise:
            fates[order_id] = result.otherwise[order_id]
            continue
        charged = trusted and failed_at is not None and any(at > failed_at for at in successes)
        trips, now = standing.trips, standing.now
        fates[order_id] = decide(outcome, attempts, charged=charged, trips=trips, settings=settings, now=now)
    certain = result.fates if trusted else {**result.fates, **result.otherwise}
    return {**{i: fate for i, fate in certain.items() if i not in fates}, **fates}


async def _write_backend(
    connection: AsyncConnection,
    lease: UUID,
    met: BatchCounts,
    settings: Settings,
    quarantined: bool,
    proof: tuple[UUID, Outcome] | None,
) -> None:
    """Near the end of the transaction, so that the backend's row is locked only for the commit. Raises Doubted."""
    here = backends.c.name == settings.backend
    now = (await connection.execute(STANDING.where(here).with_for_update())).one()
    if now.quarantined and not quarantined:
        raise Doubted
    was, norm = _of(Circuit, now), _of(Baseline, now)
    becomes = advance(was, met, settings, now.now)
    learnt, odd = learn(norm, met, closed=was.circuit == "closed")
    if odd is not None:
        await evidence.write(
            connection, settings.backend, lease, [evidence.EvidenceFound(None, Evidence.REFUSALS, odd)]
        )
    values = dict(zip((c.name for c in (*CIRCUIT, *NORM)), (*astuple(becomes), *astuple(learnt)), strict=True))
    if proof is not None and not now.quarantined:
        values |= _latch(proof, settings.backend)
    if becomes.circuit != was.circuit:
        log.warning("circuit", extra={"backend": settings.backend, "was": was.circuit, "becomes": becomes.circuit})
    if (becomes, learnt) != (was, norm) or proof is not None:
        await connection.execute(update(backends).where(here).values(values))


def _of(kind: Any, row: Row[Any]) -> Any:
    return kind(*(getattr(row, each.name) for each in fields(kind)))


def _latch(proof: tuple[UUID, Outcome], backend: str) -> dict[str, Any]:
    """The columns that put a backend in quarantine, until an operator releases it."""
    order_id, outcome = proof
    why = Sentence(Code.PROVED, evidence=str(outcome.evidence), order=str(order_id), detail=outcome.detail)
    log.critical("quarantined", extra={"backend": backend, "kind": outcome.evidence, "order": order_id})
    return {
        "quarantined": True,
        "quarantined_at": func.clock_timestamp(),
        "quarantined_by": "relais",
        "held_why": why,
    }


async def _finish(connection: AsyncConnection, receipts: Mapping[UUID, ErpReceipt], settings: Settings) -> None:
    """Wake the dispatcher, and see that no reference is another order's. Raises Doubted."""
    checked = {} if settings.erp_reuses_references else receipts
    references = [receipt.reference for receipt in checked.values()]
    values = {"id": list(checked), "reference": references, "backend": settings.backend}
    reused = (await connection.execute(LAST, values)).one().reused
    if reused:
        raise Doubted(frozenset(reused))
