"""Forged records that were set aside can be dropped by an operator, and by nobody anything else of the table."""

from alembic import op

revision = "0029"
down_revision = "0028"

STATEMENTS = [
    "CREATE INDEX ix_asides_forged ON asides (number) WHERE kind = 'forged'",
    "DROP TRIGGER append_only ON asides",
    "CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON asides "
    "FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()",
    "CREATE TRIGGER kept BEFORE DELETE ON asides FOR EACH ROW WHEN (OLD.kind <> 'forged') "
    "EXECUTE FUNCTION relais_append_only()",
]


def upgrade() -> None:
    """What is there stays as it is."""
    for statement in STATEMENTS:
        op.execute(statement)
