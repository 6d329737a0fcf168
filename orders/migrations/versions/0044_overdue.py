"""When each order was last on its way to its ERP, and what each ERP's connector says of it."""

from alembic import op

revision = "0044"
down_revision = "0042"

STATEMENTS = [
    "ALTER TABLE deliveries ADD COLUMN sent_at TIMESTAMP WITH TIME ZONE",
    "COMMENT ON COLUMN deliveries.sent_at IS 'when it was last on its way to the ERP, at the latest; null: never'",
    # Of what may be with its ERP it is not known when it went there: not later than now.
    "UPDATE deliveries SET sent_at = now() WHERE unsure OR state IN ('delivering', 'submitted')",
    "CREATE INDEX ix_deliveries_awaited ON deliveries (backend, sent_at) "
    "WHERE (state = 'submitted' OR (state = 'accepted' AND unsure))",
    "ALTER TABLE backends ADD COLUMN unique_reference BOOLEAN",
    "ALTER TABLE backends ADD COLUMN absent_after FLOAT",
    "ALTER TABLE backends ADD COLUMN ack_within FLOAT",
    "COMMENT ON COLUMN backends.unique_reference IS "
    "'the ERP itself refuses a second order of one reference; null: not told'",
    "COMMENT ON COLUMN backends.absent_after IS 'seconds after a sending before it is believed to lack an order'",
    "COMMENT ON COLUMN backends.ack_within IS "
    "'seconds in which it should have decided on an order; null: no such time'",
]


def upgrade() -> None:
    """Nothing is forgotten meanwhile: an order that may have been sent counts as sent now."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
