"""What settling writes of a batch: dispositions, attempts and receipts, a statement each however many orders it has.

Every row is fenced by the lease: a worker that was presumed dead and comes back changes nothing that its successor
settled, and settling again after a lost answer writes nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Set
from dataclasses import fields
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.states import FINAL, listed
from workers.delivery.retry_policy import Disposition
from workers.erp.port import LINES, ErpReceipt, Outcome

HELD = text("""
SELECT order_id FROM deliveries WHERE order_id = ANY(CAST(:id AS uuid[])) AND lease = :lease
ORDER BY order_id FOR UPDATE
""")

DISPOSITIONS = text(f"""
UPDATE deliveries d
SET state = u.state, due_at = u.due_at, attempts = u.attempts, unsure = u.unsure, reason = u.reason, error = u.error,
  status = u.status, why = u.why, failed_at = coalesce(u.failed_at, d.failed_at),
  lease = NULL, lease_until = NULL,
  sent_at = CASE WHEN u.sent THEN clock_timestamp() ELSE d.sent_at END,
  settled_at = CASE WHEN u.state IN ({listed(FINAL)}) THEN now() END
FROM unnest(CAST(:id AS uuid[]), CAST(:state AS text[]), CAST(:due_at AS timestamptz[]),
  CAST(:attempts AS smallint[]), CAST(:unsure AS boolean[]), CAST(:failed_at AS timestamptz[]),
  CAST(:reason AS text[]), CAST(:error AS text[]), CAST(:status AS smallint[]), CAST(:why AS jsonb[]),
  CAST(:sent AS boolean[])) AS u (id, state, due_at, attempts, unsure, failed_at, reason, error, status, why, sent)
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

# Their time is that of this statement, before which the transaction has locked `deliveries`: by that lock a
# reconciliation knows whom to wait for.
RECEIPTS = text("""
INSERT INTO receipts (order_id, lease, backend, reference, digest, lines, signature, key_id, received_at)
SELECT u.id, :lease, :backend, u.reference, u.digest, u.lines, u.signature, u.key_id, statement_timestamp()
FROM unnest(CAST(:id AS uuid[]), CAST(:reference AS text[]), CAST(:digest AS bytea[]), CAST(:lines AS jsonb[]),
  CAST(:signature AS text[]), CAST(:key_id AS text[])) AS u (id, reference, digest, lines, signature, key_id)
ON CONFLICT DO NOTHING
""")


async def hold(connection: AsyncConnection, lease: UUID, ids: Collection[UUID]) -> set[UUID]:
    """Lock the deliveries that the lease still holds, as `write_dispositions` would; their ids."""
    return {row[0] for row in await connection.execute(HELD, {"id": list(ids), "lease": lease})}


async def write_dispositions(
    connection: AsyncConnection, lease: UUID, dispositions: Mapping[UUID, Disposition], sent: Set[UUID]
) -> set[UUID]:
    """Settle the deliveries that the lease still holds, of which `sent` were on their way till now; their ids."""
    ordered = sorted(dispositions)  # rows are locked in the same order everywhere
    columns: dict[str, list[Any]] = {
        field.name: [getattr(dispositions[i], field.name) for i in ordered] for field in fields(Disposition)
    }
    columns["why"] = [each and json.dumps(each.stored()) for each in columns["why"]]
    columns["sent"] = [i in sent for i in ordered]
    rows = await connection.execute(DISPOSITIONS, {"id": ordered, "lease": lease, **columns})
    return {row[0] for row in rows}


async def write_attempts(
    connection: AsyncConnection, lease: UUID, outcomes: Mapping[UUID, Outcome], worker: str
) -> None:
    """One attempt for each order whose call was begun."""
    tried = [(i, o) for i, o in outcomes.items() if o.started is not None and o.ended is not None]
    if not tried:
        return
    await connection.execute(
        ATTEMPTS,
        {
            "lease": lease,
            "worker": worker,
            "id": [order_id for order_id, _ in tried],
            "started_at": [outcome.started for _, outcome in tried],
            "ended_at": [outcome.ended for _, outcome in tried],
            "outcome": [outcome.kind for _, outcome in tried],
            "status": [outcome.status for _, outcome in tried],
            "detail": [outcome.detail[:500] for _, outcome in tried],
        },
    )


async def write_receipts(
    connection: AsyncConnection, lease: UUID, outcomes: Mapping[UUID, Outcome], settled: Collection[UUID], backend: str
) -> dict[UUID, ErpReceipt]:
    """The receipts of the orders that were settled, which are returned."""
    held = {i: o.receipt for i, o in outcomes.items() if o.receipt is not None and i in settled}
    if not held:
        return held
    await connection.execute(
        RECEIPTS,
        {
            "lease": lease,
            "backend": backend,
            "id": list(held),
            "reference": [receipt.reference for receipt in held.values()],
            "digest": [receipt.digest for receipt in held.values()],
            # what a line leaves unsaid is left out: most say nothing but how many boxes
            "lines": [LINES.dump_json(receipt.lines, exclude_defaults=True).decode() for receipt in held.values()],
            "signature": [receipt.signature for receipt in held.values()],
            "key_id": [receipt.key_id for receipt in held.values()],
        },
    )
    return held
