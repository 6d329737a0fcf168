"""Who works, and when each last answered a canary."""

from alembic import op

revision = "0009"
down_revision = "0008"

STATEMENTS = [
    """CREATE TABLE workers (
	name TEXT NOT NULL,
	host TEXT NOT NULL,
	pid INTEGER NOT NULL,
	started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	asked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	answered_at TIMESTAMP WITH TIME ZONE,
	heard_at TIMESTAMP WITH TIME ZONE,
	CONSTRAINT pk_workers PRIMARY KEY (name)
)""",
    """COMMENT ON TABLE workers IS 'the workers that run, each with its liveness; rows come and go'""",
    """COMMENT ON COLUMN workers.name IS 'Celery''s name of it: relais-PID@host'""",
    """COMMENT ON COLUMN workers.pid IS 'of its main process, on its host'""",
    """COMMENT ON COLUMN workers.asked_at IS 'it, or who watches it, last sent a canary'""",
    """COMMENT ON COLUMN workers.answered_at IS 'a process of its pool last answered a canary'""",
    """COMMENT ON COLUMN workers.heard_at IS 'when the youngest canary that it answered had been sent'""",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
