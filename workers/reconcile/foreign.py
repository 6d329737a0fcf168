"""Orders that an ERP holds and Relais never sent: whoever got into it may have put them there.

The ERP is asked for all that it took in the span of time, page by page, and each page is held against the journal. A
run that was cut short lists from the beginning; what it had found is not counted twice.
"""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.schema.tables.reconcile import Difference
from orders.sentences import Code
from orders.states import State, listed
from workers.erp.port import Erp, Listing
from workers.reconcile.patience import FIRST_PAUSE, MOST_PAUSE, Patience
from workers.reconcile.runs import Reconciliation

WHOLE: Final = "whole"
CANNOT: Final = "cannot"
MOST_FOREIGN: Final = 10_000  # findings of them; a list that goes on and on is no list
MOST_PAGES: Final = 20_000  # ten million orders

AT_ERP: Final = (State.DELIVERING, State.SUBMITTED, State.DELIVERED)

JUDGE = text(f"""
WITH told AS (
  SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:digests AS bytea[]), CAST(:references AS text[]))
    AS t (id, digest, reference)
), judged AS (
  SELECT t.id,
    CASE WHEN o.id IS NULL OR NOT sent.ever THEN '{Difference.FOREIGN}' ELSE '{Difference.ALTERED}' END AS kind,
    CASE WHEN o.id IS NULL THEN jsonb_build_object('code', '{Code.NOT_KNOWN.key}', 'reference', t.reference)
      WHEN NOT sent.ever THEN jsonb_build_object('code', '{Code.NOT_SENT.key}', 'reference', t.reference)
      ELSE jsonb_build_object('code', '{Code.OTHER_BYTES.key}') END AS detail
  FROM told t LEFT JOIN orders o ON o.id = t.id LEFT JOIN deliveries d ON d.order_id = t.id,
    LATERAL (SELECT coalesce(d.state IN ({listed(AT_ERP)}) OR d.unsure OR d.attempts > 0, false)
      OR EXISTS (SELECT FROM attempts a WHERE a.order_id = t.id) AS ever) sent
  WHERE o.id IS NULL OR NOT sent.ever OR o.digest <> t.digest
), fresh AS (
  INSERT INTO findings (reconciliation, order_id, kind, detail) SELECT :run, id, kind, detail FROM judged
  ON CONFLICT DO NOTHING RETURNING kind
)
UPDATE reconciliations SET "foreign" = "foreign" + (SELECT count(*) FROM fresh WHERE kind = '{Difference.FOREIGN}'),
  altered = altered + (SELECT count(*) FROM fresh WHERE kind = '{Difference.ALTERED}')
WHERE id = :run RETURNING "foreign"
""")


async def list_foreign(engine: AsyncEngine, erp: Erp, run: Reconciliation, patience: Patience) -> str:
    """Find what the ERP holds of the run's span and was never sent; WHOLE, CANNOT, or why the list broke off."""
    after: str | None = None
    for _ in range(MOST_PAGES):
        if not erp.capabilities.can_list:
            return CANNOT
        page = await _page(erp, run, after, patience)
        if page.failed is not None:
            return page.failed.detail if erp.capabilities.can_list else CANNOT
        if await _judge(engine, run, page) > MOST_FOREIGN:
            return f"broken off: over {MOST_FOREIGN:,} orders that were never sent"
        after = page.next
        if after is None:
            return WHOLE
    return f"broken off after {MOST_PAGES:,} pages"


async def _page(erp: Erp, run: Reconciliation, after: str | None, patience: Patience) -> Listing:
    """The page after that one, asked for again while the patience lasts."""
    pause = FIRST_PAUSE
    while True:
        page = await erp.list(run.since, run.until, after=after, budget=patience.budget)
        if page.failed is None:
            patience.heard()
        elif erp.capabilities.can_list and (left := patience.left()) > 0:
            await asyncio.sleep(min(left, pause))
            pause = min(MOST_PAUSE, 2 * pause)
            continue
        return page


async def _judge(engine: AsyncEngine, run: Reconciliation, page: Listing) -> int:
    """Keep what is foreign on a page; how many orders are by now."""
    if not page.orders:
        return 0
    values = {
        "run": run.id,
        "ids": [order.id for order in page.orders],
        "digests": [order.digest for order in page.orders],
        "references": [order.reference for order in page.orders],
    }
    async with engine.connect() as connection:
        return int((await connection.execute(JUDGE, values)).scalar_one())
