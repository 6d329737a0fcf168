"""Orders are listed in the order of their commits: by the transaction that wrote them, which every row has."""

from alembic import op

revision = "0023"
down_revision = "0022"

STATEMENTS = [
    "DROP INDEX ix_orders_tx",
    "CREATE INDEX ix_orders_tx ON orders (tx)",
    "CREATE INDEX ix_orders_pharmacy_tx ON orders (pharmacy, tx)",
]


def upgrade() -> None:
    """Index what is there; no row is rewritten."""
    for statement in STATEMENTS:
        op.execute(statement)
