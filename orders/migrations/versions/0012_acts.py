"""What is done through the console."""

from alembic import op

revision = "0012"
down_revision = "0011"

STATEMENTS = [
    """CREATE TABLE acts (
	id UUID NOT NULL,
	kind TEXT NOT NULL,
	chosen JSONB NOT NULL,
	fields JSONB NOT NULL,
	reason TEXT NOT NULL,
	operator TEXT NOT NULL,
	role TEXT NOT NULL,
	state TEXT DEFAULT 'running' NOT NULL,
	done BIGINT DEFAULT '0' NOT NULL,
	total BIGINT,
	note TEXT DEFAULT '' NOT NULL,
	outcome JSONB,
	operations BIGINT[] DEFAULT '{}' NOT NULL,
	why TEXT,
	error TEXT,
	started_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
	beat_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
	ended_at TIMESTAMP WITH TIME ZONE,
	stop_asked_at TIMESTAMP WITH TIME ZONE,
	stop_asked_by TEXT,
	CONSTRAINT pk_acts PRIMARY KEY (id),
	CONSTRAINT ck_acts_state CHECK (state IN ('running', 'done', 'failed', 'stopped', 'interrupted'))
)""",
    """CREATE INDEX ix_acts_running ON acts (beat_at) WHERE state = 'running'""",
    """CREATE INDEX ix_acts_started_at_id ON acts (started_at, id)""",
    """COMMENT ON TABLE acts IS 'what was done through the console; a row changes until its act is over'""",
    """COMMENT ON COLUMN acts.id IS 'from the form'""",
    """COMMENT ON COLUMN acts.chosen IS 'what it is about'""",
    """COMMENT ON COLUMN acts.fields IS 'of the form that chose it, to begin again with'""",
    """COMMENT ON COLUMN acts.role IS 'that the operator had'""",
    """COMMENT ON COLUMN acts.total IS 'null while it is not known'""",
    """COMMENT ON COLUMN acts.outcome IS 'what came of it'""",
    """COMMENT ON COLUMN acts.operations IS 'ids of its rows there'""",
    """COMMENT ON COLUMN acts.why IS 'the kind of what ended it, where it is not done'""",
    """COMMENT ON COLUMN acts.error IS 'in words'""",
    """COMMENT ON COLUMN acts.beat_at IS 'the process that runs it lived then'""",
]


def upgrade() -> None:
    """Add them to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
