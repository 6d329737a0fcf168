"""Of one client, too, orders wait in several lines, by pharmacy, which take turns."""

from alembic import op

revision = "0034"
down_revision = "0033"

STATEMENTS = [
    "COMMENT ON COLUMN deliveries.client IS 'a hash of who handed it over, in its last four bits of the pharmacy: "
    "clients take turns, and of one client such lines'",
]


def upgrade() -> None:
    """What waits stays in the line that it is in: of its client, and of no pharmacy."""
    for statement in STATEMENTS:
        op.execute(statement)
