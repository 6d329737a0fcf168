"""Workers are known by their birth, and say since when they take no orders though some wait."""

from alembic import op

revision = "0028"
down_revision = "0027"

STATEMENTS = [
    "ALTER TABLE workers ADD COLUMN born TEXT DEFAULT '' NOT NULL",
    "ALTER TABLE workers ADD COLUMN worked_at TIMESTAMP WITH TIME ZONE",
    "ALTER TABLE workers ADD COLUMN deaf_since TIMESTAMP WITH TIME ZONE",
    "COMMENT ON COLUMN workers.born IS 'what no other process with this pid has'",
    "COMMENT ON COLUMN workers.worked_at IS 'a process of its pool last had orders in hand'",
    "COMMENT ON COLUMN workers.deaf_since IS 'orders wait in the queues and it takes none; null while all is well'",
]


def upgrade() -> None:
    """Those that run enter what they know of themselves when they start again."""
    for statement in STATEMENTS:
        op.execute(statement)
