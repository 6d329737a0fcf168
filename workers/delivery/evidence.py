"""What a batch proves against its backend, and what its answers are worth when the backend is not trusted.

The first proof ends the trust: what was answered before it stands, verified as it is; what came after counts as
unknown, and is kept as evidence. Of a backend in quarantine no answer counts at all.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.settings import Settings
from orders.journal.connection import DUE_CHANNEL
from orders.states import State
from workers.erp.outcomes import ANSWERED
from workers.erp.port import ErpReceipt, Evidence, Kind, Outcome

log = logging.getLogger("relais.evidence")

Outcomes = Mapping[UUID, Outcome]

WRITE: Final = text("""
INSERT INTO evidence (backend, lease, order_id, kind, conclusive, detail, answer)
SELECT :backend, :lease, u.order_id, u.kind, u.conclusive, u.detail, u.answer
FROM unnest(CAST(:order_id AS uuid[]), CAST(:kind AS text[]), CAST(:conclusive AS boolean[]),
  CAST(:detail AS text[]), CAST(:answer AS bytea[])) AS u (order_id, kind, conclusive, detail, answer)
ON CONFLICT DO NOTHING
""")

# To be run while the backend's row is locked: whoever settled before is seen. A reference is another order's where it
# stands twice in the batch, or where that order is delivered by it, and not by a later receipt; the plan is one look
# into the index for each receipt. It wakes the dispatcher too, when the transaction commits.
REUSED: Final = text(f"""
SELECT pg_notify('{DUE_CHANNEL}', ''), (
  SELECT array_agg(u.id) FROM (
    SELECT *, count(*) OVER (PARTITION BY reference) > 1 AS twice
    FROM unnest(CAST(:id AS uuid[]), CAST(:reference AS text[])) AS u (id, reference)) u
  WHERE twice OR (
    SELECT true FROM receipts r JOIN deliveries d ON d.order_id = r.order_id AND d.state = '{State.DELIVERED}'
    WHERE r.backend = :backend AND r.reference = u.reference AND r.order_id <> u.id AND NOT EXISTS (
      SELECT FROM receipts n WHERE n.order_id = r.order_id AND n.received_at > r.received_at) LIMIT 1)) AS reused
""")


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """One piece of evidence; `order_id` None where it is about no single order."""

    order_id: UUID | None
    kind: Evidence
    detail: str
    answer: bytes = b""


def proof(outcomes: Outcomes) -> tuple[UUID, Outcome] | None:
    """The order and the outcome that first prove that the backend is not to be trusted."""
    proofs = [(i, o) for i, o in outcomes.items() if o.evidence is not None and o.evidence.conclusive]
    return min(proofs, key=lambda each: (each[1].ended is None, each[1].ended, each[0]), default=None)


def withheld(outcomes: Outcomes, since: datetime | None = None) -> dict[UUID, Outcome]:
    """The outcomes where answers that came after `since`, or all, count as unknown."""
    return {
        order_id: _unknown(outcome) if outcome.kind in ANSWERED and _after(outcome, since) else outcome
        for order_id, outcome in outcomes.items()
    }


def doubted(outcomes: Outcomes, ids: Collection[UUID]) -> dict[UUID, Outcome]:
    """The outcomes where the receipts of `ids` have a reference that is another order's."""
    return {i: _reused(outcome) if i in ids else outcome for i, outcome in outcomes.items()}


def as_written(outcomes: Outcomes, settled: Collection[UUID]) -> dict[UUID, Outcome]:
    """The outcomes without answers that were withheld and settled nothing: they were settled before, as they came."""
    late = Evidence.ANSWER_IN_QUARANTINE
    return {i: outcome for i, outcome in outcomes.items() if i in settled or outcome.evidence is not late}


def found(outcomes: Outcomes) -> list[EvidenceFound]:
    """Every piece of evidence in a batch, each answer once."""
    pieces: dict[tuple[Evidence, str, bytes], EvidenceFound] = {}
    for order_id, outcome in sorted(outcomes.items()):
        if outcome.evidence is not None:
            piece = EvidenceFound(order_id, outcome.evidence, outcome.detail, outcome.answer)
            pieces.setdefault((piece.kind, piece.detail, piece.answer), piece)
    return list(pieces.values())


async def reused(connection: AsyncConnection, settings: Settings, receipts: Mapping[UUID, ErpReceipt]) -> set[UUID]:
    """The orders whose receipts have a reference that is another order's. Wakes the dispatcher in any case."""
    checked = {} if settings.erp.reuses_references else receipts
    references = [receipt.reference for receipt in checked.values()]
    values = {"id": list(checked), "reference": references, "backend": settings.erp.backend}
    return set((await connection.execute(REUSED, values)).one().reused or ())


async def write(connection: AsyncConnection, backend: str, lease: UUID, pieces: Collection[EvidenceFound]) -> None:
    """Keep evidence, and raise the alarm; writing it again changes nothing."""
    if not pieces:
        return
    for piece in pieces:
        if piece.kind is not Evidence.ANSWER_IN_QUARANTINE:
            log.error("evidence", extra={"kind": piece.kind, "backend": backend, "order": piece.order_id})
    await connection.execute(
        WRITE,
        {
            "backend": backend,
            "lease": lease,
            "order_id": [piece.order_id for piece in pieces],
            "kind": [piece.kind for piece in pieces],
            "conclusive": [piece.kind.conclusive for piece in pieces],
            "detail": [piece.detail[:500] for piece in pieces],
            "answer": [piece.answer or None for piece in pieces],
        },
    )


def _after(outcome: Outcome, since: datetime | None) -> bool:
    return since is None or outcome.ended is None or outcome.ended > since


def _unknown(outcome: Outcome) -> Outcome:
    detail = f"answered in quarantine, which counts as unknown: {outcome.kind} {outcome.detail}".rstrip()
    evidence = Evidence.ANSWER_IN_QUARANTINE
    return replace(outcome, kind=Kind.UNKNOWN, detail=detail, receipt=None, evidence=evidence)


def _reused(outcome: Outcome) -> Outcome:
    reference = outcome.receipt.reference if outcome.receipt else ""
    detail = f"the receipt's reference is another order's: {reference}"
    evidence = Evidence.REFERENCE_REUSED
    return replace(outcome, kind=Kind.SUSPICIOUS, detail=detail, receipt=None, evidence=evidence)
