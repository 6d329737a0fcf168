"""The largest backlog between two samples."""

from alembic import op

revision = "0030"
down_revision = "0029"

STATEMENTS = [
    "ALTER TABLE samples ADD COLUMN peak BIGINT DEFAULT 0 NOT NULL",
    "COMMENT ON COLUMN samples.peak IS "
    "'the largest backlog seen since the sample before; in time, of the whole minute'",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
