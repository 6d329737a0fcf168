"""How many answers of each ERP's cannot be read and wait for a person, and when they were counted."""

from alembic import op

revision = "0045"
down_revision = "0044"

STATEMENTS = [
    "ALTER TABLE backends ADD COLUMN set_aside INTEGER",
    "ALTER TABLE backends ADD COLUMN set_aside_at TIMESTAMP WITH TIME ZONE",
    "COMMENT ON COLUMN backends.set_aside IS 'answers that cannot be read and wait for a person; null: never seen'",
    "COMMENT ON COLUMN backends.set_aside_at IS 'when they were counted last'",
]


def upgrade() -> None:
    """Nothing is known of them until a worker has looked."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
