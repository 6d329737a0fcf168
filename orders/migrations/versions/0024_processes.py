"""The processes of workers, whose claims are taken back when they die."""

from alembic import op

revision = "0024"
down_revision = "0017"

STATEMENTS = [
    """CREATE TABLE processes (
	number INTEGER GENERATED ALWAYS AS IDENTITY,
	machine TEXT NOT NULL,
	pid INTEGER NOT NULL,
	ticks BIGINT NOT NULL,
	started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	CONSTRAINT pk_processes PRIMARY KEY (number)
)""",
    """COMMENT ON TABLE processes IS 'the processes of workers, each with an advisory lock while it lives; rows go'""",
    """COMMENT ON COLUMN processes.number IS 'the first four bytes of its leases'""",
    """COMMENT ON COLUMN processes.machine IS 'host, boot and namespace of pids: where pid and ticks are known'""",
    """COMMENT ON COLUMN processes.ticks IS 'of the kernel since the boot, when the process began'""",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
