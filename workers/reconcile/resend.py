"""Sending again what an ERP has forgotten: back into the backlog, under the same idempotency key.

Only what a reconciliation found missing, and only while our newest receipt is still the one that it was compared
with: an order that was delivered again meanwhile is left alone, whoever sent it, and doing it twice does nothing
twice. The worker asks the ERP before it sends, as for any order that may be there already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.journal import transactional
from orders.journal.connection import WAKE
from orders.schema.tables.reconcile import Difference, ReconcileStage
from orders.states import State
from workers.erp.own_words import SENT_AGAIN
from workers.operations import record
from workers.reconcile.runs import FIRST, NEWEST_RECEIPT, Reconciliation

ORDERS_AT_ONCE: Final = 250  # orders in one transaction
SAMPLE_SIZE: Final = 10  # of the sample

CHOSEN = f"""
  FROM findings f JOIN deliveries d ON d.order_id = f.order_id JOIN orders o ON o.id = f.order_id
  WHERE f.reconciliation = :run AND f.kind = '{Difference.MISSING}' AND d.state = '{State.DELIVERED}'
    AND d.backend = :backend
    AND f.lease = (SELECT n.lease FROM {NEWEST_RECEIPT.format(order="f.order_id")} n)
"""

PREVIEW = text(f"""
SELECT count(*) AS orders, count(DISTINCT o.pharmacy) AS pharmacies, min(d.accepted_at) AS oldest,
  max(d.accepted_at) AS youngest, count(*) FILTER (WHERE d.priority = 0) AS urgent,
  count(*) FILTER (WHERE d.valid_until < now()) AS expired {CHOSEN}
""")

SAMPLE = text(f"""
SELECT f.order_id AS id, o.pharmacy, o.reference, d.accepted_at, d.settled_at, d.valid_until {CHOSEN}
ORDER BY f.order_id LIMIT {SAMPLE_SIZE}
""")

AGAIN = text(f"""
WITH chosen AS (
  SELECT f.order_id {CHOSEN} AND f.order_id > :after ORDER BY f.order_id LIMIT {ORDERS_AT_ONCE} FOR UPDATE OF d
), again AS (
  UPDATE deliveries d SET state = '{State.ACCEPTED}', due_at = now(), attempts = 0, unsure = true, failed_at = NULL,
    reason = NULL, error = '{SENT_AGAIN}', settled_at = NULL, turn = 0,
    aged_from = now()
  FROM chosen WHERE d.order_id = chosen.order_id RETURNING d.order_id
), counted AS (
  UPDATE reconciliations SET resent = resent + (SELECT count(*) FROM again) WHERE id = :run
)
SELECT order_id FROM again ORDER BY order_id
""")

RESENT = text(
    f"UPDATE reconciliations SET state = '{ReconcileStage.RESENT}' WHERE id = :run AND state = '{ReconcileStage.DONE}'"
)


async def preview(engine: AsyncEngine, run: Reconciliation) -> dict[str, Any]:
    """What a resend would put back: orders, pharmacies, urgent, oldest, youngest, how many are past their valid_until
    (and become dead letters), and a sample.
    """
    wanted = {"run": run.id, "backend": run.backend}
    async with engine.connect() as connection:
        whole = dict((await connection.execute(PREVIEW, wanted)).mappings().one())
        sample = [dict(row) for row in (await connection.execute(SAMPLE, wanted)).mappings()]
    return {**whole, "sample": sample}


async def resend(engine: AsyncEngine, run: Reconciliation, because: str, shown: Callable[[int], None]) -> int:
    """Put the missing back in the backlog, due at once, some at a time; returns how many these were.

    `shown` hears how many are done. A resend that was killed is simply done again.
    """
    after: UUID | None = FIRST
    done = 0
    while after is not None:
        ids = await _some(engine, run, because, after)
        done, after = done + len(ids), max(ids, default=None)
        shown(done)
    async with engine.connect() as connection:
        await connection.execute(RESENT, {"run": run.id})
    return done


async def _some(engine: AsyncEngine, run: Reconciliation, because: str, after: UUID) -> list[UUID]:
    """The next of them, with the record of it, in one transaction."""
    async with transactional(engine).begin() as connection:
        wanted = {"run": run.id, "backend": run.backend, "after": after}
        ids = [row[0] for row in await connection.execute(AGAIN, wanted)]
        if ids:
            told = {"reconciliation": run.id, "backend": run.backend, "orders": len(ids), "ids": ids}
            await record(connection, "resend", because, told)
            await connection.execute(WAKE)
    return ids
