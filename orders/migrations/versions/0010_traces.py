"""The trace that an order belongs to, for who watches; it is no part of the order, and no seal covers it."""

from alembic import op

revision = "0010"
down_revision = "0009"

STATEMENTS = [
    """ALTER TABLE orders ADD COLUMN traceparent TEXT""",
    """COMMENT ON COLUMN orders.traceparent IS 'the trace of the request that brought it (W3C); not sealed'""",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
