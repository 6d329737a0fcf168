"""What ended an act, and why something of the spill was set aside, as a code with parameters."""

from alembic import op

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    """What was told so far is quoted; NULL stays NULL."""
    op.execute(
        "ALTER TABLE acts ALTER COLUMN error TYPE jsonb USING "
        "CASE WHEN error IS NOT NULL THEN jsonb_build_object('code', 'text', 'text', error) END"
    )
    op.execute("COMMENT ON COLUMN acts.error IS 'what ended it'")
    op.execute("ALTER TABLE asides ALTER COLUMN why TYPE jsonb USING jsonb_build_object('code', 'text', 'text', why)")
