"""What a reconciliation found, kind by kind: a page of one kind reads no row of another."""

from alembic import op

revision = "0016"
down_revision = "0015"

STATEMENTS = [
    "CREATE INDEX ix_findings_reconciliation_kind_order_id ON findings (reconciliation, kind, order_id)",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
