"""Orders that were cancelled or discarded, found without reading the others."""

from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    """Index those that there are."""
    op.execute(
        "CREATE INDEX ix_deliveries_given_up ON deliveries (state, order_id) WHERE state IN ('cancelled', 'discarded')"
    )
