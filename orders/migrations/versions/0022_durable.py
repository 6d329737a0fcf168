"""What an answer rests on is on disk once it is committed, whatever `synchronous_commit` somebody has set."""

from alembic import op

revision = "0022"
down_revision = "0020"

TABLES = (
    "accounts",
    "acts",
    "anchors",
    "asides",
    "attempts",
    "backends",
    "cause_notes",
    "causes",
    "clients",
    "console_logins",
    "console_secrets",
    "console_sessions",
    "deliveries",
    "events",
    "evidence",
    "findings",
    "keys",
    "notices",
    "operations",
    "orders",
    "pharmaml_acknowledged",
    "receipt_keys",
    "receipts",
    "reconciliations",
    "replays",
    "seals",
    "webhooks",
)

STATEMENTS = [
    """CREATE FUNCTION relais_durable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
PERFORM set_config('synchronous_commit', 'on', true);
RETURN NULL;
END $$""",
    *(
        f"CREATE TRIGGER durable BEFORE INSERT OR UPDATE OR DELETE ON {table} "
        "FOR EACH STATEMENT WHEN (current_setting('synchronous_commit') = 'off') EXECUTE FUNCTION relais_durable()"
        for table in TABLES
    ),
]


def upgrade() -> None:
    """No row is touched."""
    for statement in STATEMENTS:
        op.execute(statement)
