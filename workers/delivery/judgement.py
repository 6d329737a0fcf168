"""What a batch comes to, as a pure function of its outcomes and of what the backend's row says: judged once, whole.

Answers of a backend that is not trusted settle nothing: those that came after the first proof against it, or all when
it is in quarantine, count as unknown, and against no order.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from statistics import fmean
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from config.settings import Settings
from workers.delivery import evidence
from workers.delivery.backend_state import BatchCounts
from workers.delivery.retry_policy import FAILED, Disposition, counts, decide
from workers.erp.outcomes import ANSWERED, SUCCEEDED
from workers.erp.port import Kind, Outcome
from workers.erp.steady_clock import shifted


@dataclass(frozen=True, slots=True)
class Result:
    """A batch as it comes back: the outcomes of its calls, and what is certain of orders whatever the circuit says.

    `before` has of each order the attempts that count, this one included, and when it last failed. `otherwise` says
    what becomes of orders whose answer does not count; one that is not in it goes again. `requests` has the ids of the
    requests that brought them, for the log. `mapping` is the version by which some are unmapped, None where none is.
    `sent` may have been on their way to the ERP.
    """

    lease: UUID
    claimed_at: datetime
    waited: float
    before: Mapping[UUID, tuple[int, datetime | None]]
    certain: Mapping[UUID, Disposition]
    outcomes: Mapping[UUID, Outcome]
    otherwise: Mapping[UUID, Disposition] = field(default_factory=dict)
    requests: Mapping[UUID, str | None] = field(default_factory=dict)
    mapping: int | None = None
    sent: Set[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be written of a batch: its `outcomes` as they count, what becomes of each order, what the batch met,
    and the `proof` that ends the trust in its backend, if it has one.
    """

    result: Result
    outcomes: Mapping[UUID, Outcome]
    dispositions: Mapping[UUID, Disposition]
    met: BatchCounts
    proof: tuple[UUID, Outcome] | None


def judge(result: Result, seen: Row[Any], settings: Settings) -> Judgement:
    """Judge a batch of a backend that stands as `seen`: `quarantined`, `succeeded_at`, `trips` and the time `now`.

    The batch's own times are put on the journal's clock first: a worker's may be a day off.
    """
    result = replace(result, outcomes=shifted(result.outcomes, seen.now))
    outcomes, proof = result.outcomes, None if seen.quarantined else evidence.proof(result.outcomes)
    trusted = not seen.quarantined and proof is None
    if not trusted:
        outcomes = evidence.withheld(outcomes, proof[1].ended if proof else None)
    met = count(result, outcomes)
    dispositions = {**result.otherwise, **result.certain} if trusted else {**result.certain, **result.otherwise}
    for order_id, outcome in outcomes.items():
        if outcome.kind not in ANSWERED and order_id in result.otherwise:
            dispositions[order_id] = result.otherwise[order_id]
            continue
        attempts, failed_at = result.before[order_id]
        charged = trusted and counts(failed_at, (seen.succeeded_at, met.succeeded_at))
        dispositions[order_id] = decide(
            outcome, attempts, charged=charged, trips=seen.trips, settings=settings, now=seen.now
        )
    return Judgement(result, outcomes, dispositions, met, proof)


def count(result: Result, outcomes: Mapping[UUID, Outcome]) -> BatchCounts:
    """What the circuit needs to know of a batch."""
    kinds = [outcome.kind for outcome in outcomes.values()]
    failed = [outcome for outcome in outcomes.values() if outcome.kind in FAILED]
    spans = [(o.started, o.ended) for o in outcomes.values() if o.kind in SUCCEEDED and o.started and o.ended]
    return BatchCounts(
        answered=sum(kind in ANSWERED for kind in kinds),
        failed=len(failed),
        throttled=kinds.count(Kind.THROTTLED),
        claimed_at=result.claimed_at,
        waited=result.waited,
        succeeded_at=max((ended for _, ended in spans), default=None),
        suspicious=next((outcome.detail for outcome in failed if outcome.kind is Kind.SUSPICIOUS), None),
        error=failed[0].detail if failed else None,
        refused=kinds.count(Kind.REFUSED),
        seconds=fmean((ended - started).total_seconds() for started, ended in spans) if spans else None,
        retried=sum(outcome.calls > 1 for outcome in outcomes.values()),
        answered_at=min((o.ended for o in outcomes.values() if o.kind in ANSWERED and o.ended), default=None),
        failed_at=min((o.ended for o in failed if o.ended), default=None),
        last_failed_at=max((o.ended for o in failed if o.ended), default=None),
    )
