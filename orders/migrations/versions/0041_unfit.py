"""Why an order is dead without an attempt, as a code with parameters beside the words of `error`."""

from alembic import op

revision = "0041"
down_revision = "0040"


def upgrade() -> None:
    """NULL for those that died before: they keep their words."""
    op.execute("ALTER TABLE deliveries ADD COLUMN why jsonb")
    op.execute("COMMENT ON COLUMN deliveries.why IS 'the error as a code, of what is dead without an attempt'")
