"""Settling: one transaction a batch writes fates, attempts, receipts and the backend's circuit, or none of them.

Every row is fenced by its lease: a worker that was presumed dead and comes back changes nothing that its successor
settled. Attempts and receipts are keyed by the lease: settling again after a lost answer writes nothing twice.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from config.settings import Settings
from orders.journal import WAKE, transactional, unreachable
from orders.states import FINAL, listed
from orders.tables import backends
from workers.circuit import Circuit, Tally, advance
from workers.erp.port import Kind, Outcome, ReceiptLine
from workers.fate import ANSWERED, FAILED, SUCCEEDED, Fate, decide

log = logging.getLogger("relais.settle")

SETTLE = text(f"""
UPDATE deliveries d
SET state = u.state, due_at = u.due_at, attempts = u.attempts, unsure = u.unsure, reason = u.reason, error = u.error,
  failed_at = coalesce(u.failed_at, d.failed_at),
  lease = NULL, lease_until = NULL,
  settled_at = CASE WHEN u.state IN ({listed(FINAL)}) THEN now() END
FROM unnest(CAST(:id AS uuid[]), CAST(:state AS text[]), CAST(:due_at AS timestamptz[]),
  CAST(:attempts AS smallint[]), CAST(:unsure AS boolean[]), CAST(:failed_at AS timestamptz[]),
  CAST(:reason AS text[]), CAST(:error AS text[]))
  AS u (id, state, due_at, attempts, unsure, failed_at, reason, error)
WHERE d.order_id = u.id AND d.lease = :lease RETURNING d.order_id
""")

ATTEMPTS = text("""
INSERT INTO attempts (order_id, lease, started_at, ended_at, outcome, status, detail, worker)
SELECT u.id, :lease, u.started_at, u.ended_at, u.outcome, u.status, u.detail, :worker
FROM unnest(CAST(:id AS uuid[]), CAST(:started_at AS timestamptz[]), CAST(:ended_at AS timestamptz[]),
  CAST(:outcome AS text[]), CAST(:status AS smallint[]), CAST(:detail AS text[]))
  AS u (id, started_at, ended_at, outcome, status, detail)
ON CONFLICT DO NOTHING
""")

RECEIPTS = text("""
INSERT INTO receipts (order_id, lease, backend, reference, digest, lines, signature)
SELECT u.id, :lease, :backend, u.reference, u.digest, u.lines, u.signature
FROM unnest(CAST(:id AS uuid[]), CAST(:reference AS text[]), CAST(:digest AS bytea[]), CAST(:lines AS jsonb[]),
  CAST(:signature AS text[])) AS u (id, reference, digest, lines, signature)
ON CONFLICT DO NOTHING
""")

LINES = TypeAdapter(tuple[ReceiptLine, ...])
CIRCUIT = [backends.c[field.name] for field in fields(Circuit)]


@dataclass(frozen=True, slots=True)
class Result:
    """A batch as it comes back: the outcomes of its calls, and fates that are certain whatever the circuit says.

    `before` has of each order the attempts that count, this one included, and when it last failed.
    """

    lease: UUID
    claimed_at: datetime
    waited: float
    before: Mapping[UUID, tuple[int, datetime | None]]
    fates: Mapping[UUID, Fate]
    outcomes: Mapping[UUID, Outcome]


async def insist(work: Callable[[], Awaitable[None]], remaining: float) -> None:
    """Do what settles; while the journal is out of reach, try again for the `remaining` seconds of the lease."""
    async for trying in AsyncRetrying(
        retry=retry_if_exception(unreachable),
        wait=wait_random_exponential(0.1, max=2),
        stop=stop_after_delay(max(1.0, remaining)),
        reraise=True,
    ):
        with trying:
            await work()


async def settle(engine: AsyncEngine, result: Result, settings: Settings, worker: str) -> None:
    """Record what came of a batch, in one transaction. Raises what the journal raises; safe to call again."""
    met = tally(result)
    async with transactional(engine).begin() as connection:
        now = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
        before = await read_circuit(connection, settings.backend)
        fates = {**_fates(result, met, before, settings, now), **result.fates}
        settled = await _write_fates(connection, result.lease, fates)
        await _write_attempts(connection, result, worker)
        await _write_receipts(connection, result, settled, settings.backend)
        await _write_circuit(connection, met, settings, now)
        await connection.execute(WAKE)
    if len(settled) < len(fates):
        log.warning("fenced orders=%d lease=%s", len(fates) - len(settled), result.lease)


def tally(result: Result) -> Tally:
    """What the circuit needs to know of a batch."""
    kinds = [outcome.kind for outcome in result.outcomes.values()]
    failed = [outcome for outcome in result.outcomes.values() if outcome.kind in FAILED]
    succeeded = [outcome.ended for outcome in result.outcomes.values() if outcome.kind in SUCCEEDED and outcome.ended]
    suspicious = next((outcome.detail for outcome in failed if outcome.kind is Kind.SUSPICIOUS), None)
    return Tally(
        answered=sum(kind in ANSWERED for kind in kinds),
        failed=len(failed),
        throttled=kinds.count(Kind.THROTTLED),
        claimed_at=result.claimed_at,
        waited=result.waited,
        succeeded_at=max(succeeded, default=None),
        suspicious=suspicious,
        error=failed[0].detail if failed else None,
        retried=sum(outcome.calls > 1 for outcome in result.outcomes.values()),
    )


def _fates(result: Result, met: Tally, circuit: Circuit, settings: Settings, now: datetime) -> dict[UUID, Fate]:
    """Decide each order that was tried.

    A first failure may be the beginning of an outage and never counts; a further one counts when other orders have
    succeeded since the last. Both are the times of the ERP's answers, not of settling: a batch that went well
    before an outage may be settled after one that met it.
    """
    successes = [at for at in (circuit.succeeded_at, met.succeeded_at) if at is not None]
    fates = {}
    for order_id, outcome in result.outcomes.items():
        attempts, failed_at = result.before[order_id]
        charged = failed_at is not None and any(at > failed_at for at in successes)
        fates[order_id] = decide(outcome, attempts, charged=charged, trips=circuit.trips, settings=settings, now=now)
    return fates


async def _write_fates(connection: AsyncConnection, lease: UUID, fates: Mapping[UUID, Fate]) -> set[UUID]:
    ordered = sorted(fates)  # rows are locked in the same order everywhere
    columns: dict[str, Sequence[object]] = {
        field.name: [getattr(fates[order_id], field.name) for order_id in ordered] for field in fields(Fate)
    }
    rows = await connection.execute(SETTLE, {"id": ordered, "lease": lease, **columns})
    return {row[0] for row in rows}


async def _write_attempts(connection: AsyncConnection, result: Result, worker: str) -> None:
    tried = [(i, o) for i, o in result.outcomes.items() if o.started is not None and o.ended is not None]
    if not tried:
        return
    await connection.execute(ATTEMPTS, {
        "lease": result.lease, "worker": worker,
        "id": [order_id for order_id, _ in tried],
        "started_at": [outcome.started for _, outcome in tried],
        "ended_at": [outcome.ended for _, outcome in tried],
        "outcome": [outcome.kind for _, outcome in tried],
        "status": [outcome.status for _, outcome in tried],
        "detail": [outcome.detail[:500] for _, outcome in tried],
    })  # fmt: skip


async def _write_receipts(connection: AsyncConnection, result: Result, settled: set[UUID], backend: str) -> None:
    held = [(i, o.receipt) for i, o in result.outcomes.items() if o.receipt is not None and i in settled]
    if not held:
        return
    await connection.execute(RECEIPTS, {
        "lease": result.lease, "backend": backend,
        "id": [order_id for order_id, _ in held],
        "reference": [receipt.reference for _, receipt in held],
        "digest": [receipt.digest for _, receipt in held],
        "lines": [LINES.dump_json(receipt.lines).decode() for _, receipt in held],
        "signature": [receipt.signature for _, receipt in held],
    })  # fmt: skip


async def read_circuit(connection: AsyncConnection, backend: str, *, lock: bool = False) -> Circuit:
    """The backend's circuit; with `lock`, nobody else changes it before this transaction ends."""
    query = select(*CIRCUIT).where(backends.c.name == backend)
    return Circuit(*(await connection.execute(query.with_for_update() if lock else query)).one())


async def _write_circuit(connection: AsyncConnection, met: Tally, settings: Settings, now: datetime) -> None:
    """Last in the transaction, so that the backend's row is locked only for the commit."""
    was = await read_circuit(connection, settings.backend, lock=True)
    becomes = advance(was, met, settings, now)
    if becomes == was:
        return
    if becomes.circuit != was.circuit:
        log.warning("circuit %s -> %s backend=%s why=%s", was.circuit, becomes.circuit, settings.backend, becomes.why)
    values = dict(zip((column.name for column in CIRCUIT), astuple(becomes), strict=True))
    await connection.execute(update(backends).where(backends.c.name == settings.backend).values(values))
