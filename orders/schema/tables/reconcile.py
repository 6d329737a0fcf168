"""The journal's tables about reconciling: how far an ERP was asked about the orders that it had acknowledged, and
every difference between its answers and our receipts.

A row of `reconciliations` moves along as its run does, so that a run that was killed goes on where it was; what it
found is append-only. An order that is with the ERP as our receipt says leaves no row, only a count.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, Integer, Table, Text, Uuid

from orders.schema.sentence_column import SentenceColumn
from orders.schema.tables.common import NOW, Instant, metadata
from orders.states import listed


class ReconcileStage(StrEnum):
    """How far a reconciliation is."""

    RUNNING = "running"  # or cut short, until somebody resumes it
    DONE = "done"  # everything was asked
    RESENT = "resent"  # and what was missing was put back in the backlog


class Difference(StrEnum):
    """What is wrong with an order."""

    MISSING = "missing"  # the ERP acknowledged it and has it no more
    ALTERED = "altered"  # the ERP has something else than it acknowledged
    UNKNOWN = "unknown"  # the ERP could not be asked about it
    FOREIGN = "foreign"  # the ERP has it and it was never sent


def _count(name: str, comment: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0", comment=comment)


reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("backend", Text, nullable=False),
    Column("since", Instant, nullable=False, comment="of the receipts that are asked about, inclusive"),
    Column("until", Instant, nullable=False, comment="exclusive"),
    Column("started_at", Instant, nullable=False, server_default=NOW),
    Column("started_by", Text, nullable=False),
    Column("cursor_at", Instant, nullable=False, comment="with cursor_id: the last receipt that was asked about"),
    Column("cursor_id", Uuid, nullable=False),
    _count("present", "with the ERP, as our receipt says"),
    _count("altered", "as findings"),
    _count("missing", "as findings"),
    _count("unknown", "as findings"),
    _count("moved", "were delivered then and are not now: sent again, or dead; not asked about"),
    _count("foreign", "as findings"),
    _count("resent", "put back in the backlog"),
    Column("listing", Text, comment="of what the ERP holds: whole, cannot, or why it broke off; null: not yet"),
    Column("state", Text, nullable=False, server_default=ReconcileStage.RUNNING),
    Column("finished_at", Instant, comment="when everything had been asked"),
    CheckConstraint(f"state IN ({listed(ReconcileStage)})", name="state"),
    CheckConstraint("isfinite(since) AND isfinite(until) AND isfinite(cursor_at)", name="times"),
    Index("ix_reconciliations_backend_id", "backend", "id"),
    comment="questions to an ERP about what it had acknowledged, and how far they are",
)

findings = Table(
    "findings",
    metadata,
    Column("reconciliation", BigInteger, primary_key=True),
    Column("order_id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("lease", Uuid, comment="of the receipt that it was compared with"),
    Column("detail", SentenceColumn, nullable=False),
    Column("at", Instant, nullable=False, server_default=NOW),
    CheckConstraint(f"kind IN ({listed(Difference)})", name="kind"),
    Index("ix_findings_reconciliation_kind_order_id", "reconciliation", "kind", "order_id"),
    comment="every difference that a reconciliation found; append-only",
)
