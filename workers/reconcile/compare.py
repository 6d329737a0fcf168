"""Reconciling: ask an ERP about every order that it acknowledged in a span of time, and keep the differences.

It goes by the time of our receipts, page by page, and a page's counts, findings and the place to go on from are one
statement: a run that was killed goes on where it was, and of two processes at the same run one is told so. Memory is
a page's, however long the span. What could not be asked is unknown, and never taken for missing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import RelaisError
from orders.refusals import NotDone
from orders.schema.tables.reconcile import Difference, ReconcileStage
from orders.sentences import Code, Sentence
from orders.states import State
from workers.erp.port import Capabilities, Erp, Evidence, Kind, Outcome
from workers.erp.receipts import believed
from workers.reconcile.foreign import list_foreign
from workers.reconcile.likeness import Names, names_of, unlike
from workers.reconcile.patience import Patience, ask
from workers.reconcile.runs import NEWEST_RECEIPT, Reconciliation, read
from workers.reconcile.settling import await_settling

PAGE_ORDERS: Final = 500
PAGE_BYTES: Final = 8 * 1024 * 1024  # of orders, or a single larger one

# The limits are part of the text: a planner that does not know them would sort what is left.
# A receipt without an order, which only somebody's SQL can have made, must not end the walk.
PAGE = text(f"""
WITH near AS (
  SELECT received_at, order_id, lease FROM receipts
  WHERE backend = :backend AND (received_at, order_id) > (:cursor_at, :cursor_id) AND received_at < :until
  ORDER BY backend, received_at, order_id LIMIT {PAGE_ORDERS}
), sized AS (
  SELECT near.*, coalesce(octet_length(o.body), 0) AS size,
    sum(coalesce(octet_length(o.body), 0)) OVER (ORDER BY near.received_at, near.order_id) AS total
  FROM near LEFT JOIN orders o ON o.id = near.order_id
)
SELECT s.received_at, clock_timestamp(), s.order_id,
  coalesce(d.state = '{State.DELIVERED}' AND d.backend = :backend, false) AS delivered,
  EXISTS (SELECT FROM receipts l WHERE l.order_id = s.order_id AND l.backend = :backend
    AND (l.received_at, l.lease) > (s.received_at, s.lease) AND l.received_at < :until) AS later,
  n.lease, n.reference, CAST(n.lines AS text) AS lines, o.body, o.digest
FROM sized s LEFT JOIN orders o ON o.id = s.order_id LEFT JOIN deliveries d ON d.order_id = o.id,
  LATERAL {NEWEST_RECEIPT.format(order="s.order_id")} n
WHERE s.total - s.size < {PAGE_BYTES} ORDER BY s.received_at, s.order_id
""")

LEFT = text("""
SELECT count(*) FROM receipts
WHERE backend = :backend AND (received_at, order_id) > (:cursor_at, :cursor_id) AND received_at < :until
""")

KEEP = text(f"""
WITH moved AS (
  UPDATE reconciliations SET cursor_at = :to_at, cursor_id = :to_id, present = present + :present,
    altered = altered + :altered, missing = missing + :missing, unknown = unknown + :unknown, moved = moved + :moved
  WHERE id = :run AND state = '{ReconcileStage.RUNNING}' AND cursor_at = :from_at AND cursor_id = :from_id RETURNING id
), kept AS (
  INSERT INTO findings (reconciliation, order_id, kind, lease, detail)
  SELECT moved.id, u.order_id, u.kind, u.lease, CAST(u.detail AS jsonb)
  FROM moved, unnest(CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:leases AS uuid[]), CAST(:details AS text[]))
    AS u (order_id, kind, lease, detail)
  ON CONFLICT DO NOTHING
)
SELECT count(*) FROM moved
""")

DONE = text(f"""
UPDATE reconciliations SET state = '{ReconcileStage.DONE}', listing = :listing, finished_at = clock_timestamp()
WHERE id = :run AND state = '{ReconcileStage.RUNNING}'
""")

# An ERP that was backed up while an order was on its way has it undecided, and not what it acknowledged: sent again, it
# is asked about and led on to its end there.
UNDONE: Final = {Kind.PENDING: Difference.MISSING, Kind.REFUSED: Difference.ALTERED}

Shown = Callable[[int, int, str], None]  # receipts gone through, of how many, and why it does not go on


class Overtaken(RelaisError):
    """Another process is at the same reconciliation."""


@dataclass(frozen=True, slots=True)
class AcknowledgedOrder:
    """An order that the ERP acknowledged, with its newest receipt; asked about, after `now`, when it is `delivered` and
    when no `later` receipt of it lies in the same span.
    """

    at: datetime
    now: datetime
    id: UUID
    delivered: bool
    later: bool
    lease: UUID
    reference: str
    lines: str
    body: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """One order that is not as our receipt says."""

    order: AcknowledgedOrder
    kind: Difference
    detail: Sentence


async def reconcile(
    engine: AsyncEngine, erp: Erp, run: Reconciliation, patience: Patience, shown: Shown
) -> Reconciliation:
    """Ask whatever this run has not asked yet; the run as it stands then.

    Raises OutOfReach when the ERP is away for longer than the patience lasts, Overtaken, Unsettled, and what the
    journal raises: the run can be resumed after each.
    """
    async with engine.connect() as connection:
        await await_settling(connection)
        run = await _ask_about_all(connection, erp, run, patience, shown)
    listing = await list_foreign(engine, erp, run, patience)
    async with engine.connect() as connection:
        await connection.execute(DONE, {"run": run.id, "listing": listing})
    return await read(engine, run.id)


async def _ask_about_all(
    connection: AsyncConnection, erp: Erp, run: Reconciliation, patience: Patience, shown: Shown
) -> Reconciliation:
    gone, left = 0, int((await connection.execute(LEFT, _place(run))).scalar_one())
    while page := [AcknowledgedOrder(*row) for row in await connection.execute(PAGE, _place(run))]:
        asked = {order.id: order for order in page if order.delivered and not order.later}
        told = await ask(erp, list(asked), patience, partial(shown, gone, gone + left))
        moved = sum(not order.delivered and not order.later for order in page)
        names = await names_of(connection, run.backend, told.values()) if erp.capabilities.mapped else {}
        found = [difference(asked[i], told[i], erp.capabilities, names) for i in asked]
        run = await _keep(connection, run, page[-1], moved, found)
        gone, left = gone + len(page), max(0, left - len(page))
        shown(gone, gone + left, "")
    return run


def difference(
    held: AcknowledgedOrder, told: Outcome, can: Capabilities, names: Names = MappingProxyType({})
) -> Finding | None:
    """What is wrong with an order by what the ERP told of it, None when it has just what it acknowledged. Our receipt
    may have called an article of the ERP's by any of its `names`.
    """
    if told.kind is Kind.ABSENT:
        believed_from = held.at + timedelta(seconds=can.absent_after)
        if held.now < believed_from:
            return Finding(held, Difference.UNKNOWN, Sentence(Code.NOT_LISTED_YET, at=believed_from))
        return Finding(held, Difference.MISSING, Sentence(Code.GONE))
    if told.kind in UNDONE:
        return Finding(held, UNDONE[told.kind], Sentence(Code.BECAME, kind=told.kind.value, detail=told.detail))
    if told.receipt is None:
        return Finding(held, Difference.UNKNOWN, Sentence(Code.MET, detail=told.detail))
    if told.evidence is Evidence.TAKEN_TWICE:
        return Finding(held, Difference.ALTERED, Sentence(Code.MET, detail=told.detail))
    # whether it may substitute was asked when its receipt came; another substitute than it told then is a difference
    trusted = believed(told, held.body, held.digest, substitutes=True, echoed=can.echoes_digest)
    unfit = Sentence(Code.MET, detail=trusted.detail)
    wrong = unfit if trusted.receipt is None else unlike(held.reference, held.lines, trusted.receipt, names)
    return Finding(held, Difference.ALTERED, wrong) if wrong else None


async def _keep(
    connection: AsyncConnection,
    run: Reconciliation,
    last: AcknowledgedOrder,
    moved: int,
    differences: Sequence[Finding | None],
) -> Reconciliation:
    """Commit a page; the run as it stands then. Raises Overtaken."""
    found = [finding for finding in differences if finding is not None]
    kinds = Counter(finding.kind for finding in found)
    counts = {kind.value: kinds[kind] for kind in (Difference.ALTERED, Difference.MISSING, Difference.UNKNOWN)}
    counts |= {"present": len(differences) - len(found), "moved": moved}
    place = {"from_at": run.cursor_at, "from_id": run.cursor_id, "to_at": last.at, "to_id": last.id}
    kept = await connection.execute(
        KEEP,
        {
            "run": run.id,
            **place,
            **counts,
            "ids": [finding.order.id for finding in found],
            "kinds": [finding.kind for finding in found],
            "leases": [finding.order.lease for finding in found],
            "details": [json.dumps(finding.detail.stored()) for finding in found],
        },
    )
    if not kept.scalar_one():
        raise Overtaken(Sentence(NotDone.OVERTAKEN, run=run.id))
    return _advanced(run, last, counts)


def _advanced(run: Reconciliation, last: AcknowledgedOrder, counts: Mapping[str, int]) -> Reconciliation:
    added = {name: getattr(run, name) + count for name, count in counts.items()}
    return replace(run, cursor_at=last.at, cursor_id=last.id, **added)


def _place(run: Reconciliation) -> dict[str, object]:
    return {"backend": run.backend, "cursor_at": run.cursor_at, "cursor_id": run.cursor_id, "until": run.until}
