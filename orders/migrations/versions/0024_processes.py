"""The processes of workers, whose claims are taken back when they die; and the clients, who take turns."""

from alembic import op

revision = "0024"
down_revision = "0023"

STATEMENTS = [
    """CREATE TABLE processes (
	number INTEGER GENERATED ALWAYS AS IDENTITY,
	machine TEXT NOT NULL,
	pid INTEGER NOT NULL,
	born TEXT NOT NULL,
	started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	CONSTRAINT pk_processes PRIMARY KEY (number)
)""",
    """COMMENT ON TABLE processes IS 'the processes of workers, each with an advisory lock while it lives; rows go'""",
    """COMMENT ON COLUMN processes.number IS 'the first four bytes of its leases'""",
    """COMMENT ON COLUMN processes.machine IS 'host, boot and namespace of pids: where pid and birth are known'""",
    """COMMENT ON COLUMN processes.born IS 'what no other process with this pid has'""",
    "ALTER TABLE deliveries ADD COLUMN client INTEGER DEFAULT 0 NOT NULL",
    """COMMENT ON COLUMN deliveries.client IS 'a hash of who handed it over: clients take turns'""",
    """COMMENT ON COLUMN deliveries.cut_off IS '''infinity'' when the order names none, or came after it'""",
    "DROP INDEX ix_deliveries_due",
    """CREATE INDEX ix_deliveries_due ON deliveries (backend, client, priority, cut_off, order_id)
WHERE state = 'accepted' AND turn = 0""",
    "CREATE TRIGGER durable BEFORE INSERT OR UPDATE OR DELETE ON processes "
    "FOR EACH STATEMENT WHEN (current_setting('synchronous_commit') = 'off') EXECUTE FUNCTION relais_durable()",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
