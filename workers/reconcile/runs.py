"""Reconciliations as the journal keeps them: beginning one, how far each is, and what it found.

`NEWEST_RECEIPT` is what a reconciliation compares with, and what a resend looks at again: the newest receipt of an
order from the backend that is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.errors import NotFound, NotSo
from orders.journal import Source, reading_from, transactional
from orders.refusals import NotDone
from orders.schema.sentence_column import SentenceColumn
from orders.schema.tables.reconcile import Difference, ReconcileStage, reconciliations
from orders.sentences import Sentence
from workers.operations import operator, record

FIRST: Final = UUID(int=0)  # before every order's id

NEWEST_RECEIPT: Final = """(
  SELECT r.lease, r.reference, r.lines FROM receipts r WHERE r.order_id = {order} AND r.backend = :backend
  ORDER BY r.received_at DESC, r.lease LIMIT 1
)"""

FINDINGS = text("""
SELECT f.order_id AS id, f.kind, f.detail, o.pharmacy, o.reference, d.state, d.accepted_at
FROM findings f LEFT JOIN orders o ON o.id = f.order_id LEFT JOIN deliveries d ON d.order_id = f.order_id
WHERE f.reconciliation = :run ORDER BY array_position(CAST(:kinds AS text[]), f.kind), f.order_id LIMIT :limit
""").columns(detail=SentenceColumn())


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A reconciliation as it stands: the columns of `reconciliations`."""

    id: int
    backend: str
    since: datetime
    until: datetime
    started_at: datetime
    started_by: str
    cursor_at: datetime
    cursor_id: UUID
    present: int
    altered: int
    missing: int
    unknown: int
    moved: int
    foreign: int
    resent: int
    listing: str | None
    state: str
    finished_at: datetime | None

    @property
    def sound(self) -> bool:
        """True when the ERP has all that it acknowledged, or what it lacked was put back, and nothing else."""
        lacking = self.missing if self.state != ReconcileStage.RESENT else 0
        return self.state != ReconcileStage.RUNNING and not (self.altered or self.unknown or self.foreign or lacking)


COLUMNS: Final = [reconciliations.c[field.name] for field in fields(Reconciliation)]


async def begin(
    engine: AsyncEngine, backend: str, since: datetime, until: datetime | None, reason: str
) -> Reconciliation:
    """A new reconciliation of what the backend acknowledged from `since` on and before `until`, now at the latest."""
    now = func.clock_timestamp()
    values = {
        "backend": backend,
        "since": since,
        "until": now if until is None else func.least(until, now),
        "started_by": operator(),
        "cursor_at": since,
        "cursor_id": FIRST,
    }
    async with transactional(engine).begin() as connection:
        statement = insert(reconciliations).values(values).returning(*COLUMNS)
        run = Reconciliation(*(await connection.execute(statement)).one())
        span = {"since": run.since, "until": run.until}
        await record(connection, "reconcile", reason, {"reconciliation": run.id, "backend": backend, **span})
    return run


async def go_on(engine: AsyncEngine, run: Reconciliation, reason: str) -> None:
    """Record that an operator goes on with a run that was cut short. Raises NotSo where it is done."""
    if run.state != ReconcileStage.RUNNING:
        raise NotSo(Sentence(NotDone.RECONCILED, run=run.id))
    async with transactional(engine).begin() as connection:
        await record(connection, "reconcile resume", reason, {"reconciliation": run.id, "backend": run.backend})


async def read(source: Source, number: int) -> Reconciliation:
    """The reconciliation of that number. Raises NotFound."""
    async with reading_from(source) as connection:
        row = (await connection.execute(select(*COLUMNS).where(reconciliations.c.id == number))).one_or_none()
    if row is None:
        raise NotFound(Sentence(NotDone.NO_RECONCILIATION, run=number))
    return Reconciliation(*row)


async def newest(
    source: Source, *, backend: str | None = None, cut_short: bool = False, before: int | None = None, limit: int
) -> list[Reconciliation]:
    """The reconciliations, the newest first: of one backend, those running or cut short, those below a number."""
    query = select(*COLUMNS).order_by(reconciliations.c.id.desc()).limit(limit)
    if backend is not None:
        query = query.where(reconciliations.c.backend == backend)
    if cut_short:
        query = query.where(reconciliations.c.state == ReconcileStage.RUNNING)
    if before is not None:
        query = query.where(reconciliations.c.id < before)
    async with reading_from(source) as connection:
        return [Reconciliation(*row) for row in await connection.execute(query)]


async def findings(engine: AsyncEngine, number: int, limit: int) -> list[dict[str, Any]]:
    """What a reconciliation found, the gravest kinds first: id, kind, detail, and where the order stands now."""
    kinds = [Difference.FOREIGN, Difference.ALTERED, Difference.MISSING, Difference.UNKNOWN]
    async with engine.connect() as connection:
        rows = await connection.execute(FINDINGS, {"run": number, "limit": limit, "kinds": kinds})
        return [dict(row) for row in rows.mappings()]
