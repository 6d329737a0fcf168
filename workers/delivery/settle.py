"""Settling: a batch is judged, then written in one transaction, dispositions, attempts, receipts, evidence and the
backend's circuit, or nothing of it.

The backend's row is locked last, only for the commit. What then turns out not to stand is undone, and settled while
the row is locked from the start and nothing is sent. So is what proves that the backend is not to be trusted: it is
quarantined in that transaction, which commits when no worker process sends to it any more (`workers.trust.barrier`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import astuple, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from orders.journal import transactional
from orders.schema.tables.core import backends
from orders.sentences import Code, Sentence
from orders.states import CircuitState
from workers import backend_transitions
from workers.backend_transitions import Outage
from workers.delivery import evidence
from workers.delivery.backend_state import BatchCounts, Circuit
from workers.delivery.baseline import Baseline, learn
from workers.delivery.circuit_breaker import advance
from workers.delivery.judgement import Judgement, Result, judge
from workers.delivery.order_log import tell_settled
from workers.delivery.records import hold, write_attempts, write_dispositions, write_receipts
from workers.delivery.retry_policy import mapped_since
from workers.erp.port import ErpReceipt, Evidence
from workers.mapping.current_mapping import newest
from workers.trust.barrier import halted

log = logging.getLogger("relais.settle")

CIRCUIT = [backends.c[each.name] for each in fields(Circuit)]
BASELINE = [backends.c[each.name] for each in fields(Baseline)]
BACKEND = select(backends.c.quarantined, func.clock_timestamp().label("now"), *CIRCUIT, *BASELINE)


async def settle(engine: AsyncEngine, result: Result, settings: Settings, worker: str) -> Judgement:
    """Record what came of a batch, in one transaction. Raises what the journal raises; safe to call again."""
    found: Judgement | Result | None = None if evidence.proof(result.outcomes) is not None else result
    while isinstance(found, Result):
        found = await _settle(engine, found, settings, worker)
    return found or await _settle_halted(engine, result, settings, worker)


async def _settle(engine: AsyncEngine, result: Result, settings: Settings, worker: str) -> Judgement | Result | None:
    """None, and nothing is written, when the backend was quarantined meanwhile or a receipt is another order's; what is
    to be settled instead, when codes were imported meanwhile.
    """
    async with transactional(engine).connect() as connection, connection.begin() as transaction:
        seen = await _look(connection, settings)
        judged = judge(result, seen, settings)
        settled, receipts = await _write(connection, judged, settings, worker)
        now = await _look(connection, settings, lock=True)
        if (now.quarantined and not seen.quarantined) or await evidence.reused(connection, settings, receipts):
            await transaction.rollback()
            return None
        if await _mapped_since(connection, result, settings):
            await transaction.rollback()
            return _again(result, now.now)
        await _advance(connection, result.lease, judged.met, now, settings)
    _tell(judged, settled, settings)
    return judged


async def _settle_halted(engine: AsyncEngine, result: Result, settings: Settings, worker: str) -> Judgement:
    async with halted(engine, settings.erp.backend) as connection:
        held = await hold(connection, result.lease, result.before)  # before the backend's row, as everybody does
        now = await _look(connection, settings, lock=True)
        if await _mapped_since(connection, result, settings):
            result = _again(result, now.now)
        judged = judge(result, now, settings)
        receipts = {i: o.receipt for i, o in judged.outcomes.items() if i in held and o.receipt is not None}
        if reused := await evidence.reused(connection, settings, receipts):
            judged = judge(replace(result, outcomes=evidence.doubted(result.outcomes, reused)), now, settings)
        settled, _ = await _write(connection, judged, settings, worker)
        await _advance(connection, result.lease, judged.met, now, settings)
        if judged.proof is not None:
            order_id, outcome = judged.proof
            why = Sentence(Code.PROVED, evidence=str(outcome.evidence), order=str(order_id), detail=outcome.detail)
            log.critical(
                "quarantined", extra={"backend": settings.erp.backend, "kind": outcome.evidence, "order": order_id}
            )
            await backend_transitions.quarantine(connection, settings.erp.backend, "relais", why)
    _tell(judged, settled, settings)
    return judged


async def _mapped_since(connection: AsyncConnection, result: Result, settings: Settings) -> bool:
    """Whether codes were imported since some orders of the batch were found unmapped.

    Asked while the backend's row is locked: an import that is not committed by then locks it after us, and finds what
    we write among the dead letters that it puts through again.
    """
    return result.mapping is not None and await newest(connection, settings.erp.backend) > result.mapping


def _again(result: Result, now: datetime) -> Result:
    return replace(result, certain=mapped_since(result.certain, now), mapping=None)


async def _look(connection: AsyncConnection, settings: Settings, *, lock: bool = False) -> Row[Any]:
    query = BACKEND.where(backends.c.name == settings.erp.backend)
    return (await connection.execute(query.with_for_update() if lock else query)).one()


async def _write(
    connection: AsyncConnection, judged: Judgement, settings: Settings, worker: str
) -> tuple[set[UUID], Mapping[UUID, ErpReceipt]]:
    """All but the backend's row; the orders that the lease still holds, and their receipts."""
    lease = judged.result.lease
    settled = await write_dispositions(connection, lease, judged.dispositions, judged.result.sent)
    outcomes = evidence.as_written(judged.outcomes, settled)
    await write_attempts(connection, lease, outcomes, worker)
    receipts = await write_receipts(connection, lease, outcomes, settled, settings.erp.backend)
    await evidence.write(connection, settings.erp.backend, lease, evidence.found(outcomes))
    return settled, receipts


async def _advance(
    connection: AsyncConnection, lease: UUID, met: BatchCounts, now: Row[Any], settings: Settings
) -> None:
    """Take circuit, window and baseline on from where they are `now` that the row is locked."""
    was, baseline = _of(Circuit, now), _of(Baseline, now)
    becomes = advance(was, met, settings, now.now)
    learnt, odd = learn(baseline, met, closed=was.circuit == CircuitState.CLOSED)
    if odd is not None:
        piece = evidence.EvidenceFound(None, Evidence.REFUSALS, odd)
        await evidence.write(connection, settings.erp.backend, lease, [piece])
    if becomes.circuit != was.circuit:
        log.warning("circuit", extra={"backend": settings.erp.backend, "was": was.circuit, "becomes": becomes.circuit})
    if (becomes, learnt) != (was, baseline):
        values = zip((c.name for c in (*CIRCUIT, *BASELINE)), (*astuple(becomes), *astuple(learnt)), strict=True)
        outage = _outage(was, becomes, met, now.now)
        await backend_transitions.learn_from_batch(connection, settings.erp.backend, dict(values), outage)


def _outage(was: Circuit, becomes: Circuit, met: BatchCounts, now: datetime) -> Outage | datetime | None:
    """The outage that a batch was part of, when the answer came that ended it, or None where there is none."""
    if becomes.circuit == CircuitState.CLOSED:
        return None if was.circuit == CircuitState.CLOSED else met.answered_at or now
    if becomes.failing_since is None or not met.failed:
        return None
    return Outage(becomes.failing_since, becomes.changed_at, met.last_failed_at or now, becomes.failures, becomes.why)


def _of(kind: Any, row: Row[Any]) -> Any:
    return kind(*(getattr(row, each.name) for each in fields(kind)))


def _tell(judged: Judgement, settled: set[UUID], settings: Settings) -> None:
    result = judged.result
    if len(settled) < len(judged.dispositions):
        fenced = len(judged.dispositions) - len(settled)
        log.warning("fenced", extra={"orders": fenced, "lease": result.lease})
    told = {order_id: judged.dispositions[order_id] for order_id in settled}
    tell_settled(told, result.outcomes, result.requests, settings.erp.backend)
