"""How Relais stood every few seconds, for the console's charts."""

from alembic import op

revision = "0013"
down_revision = "0012"

STATEMENTS = [
    """CREATE TABLE samples (
	at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	accepted BIGINT NOT NULL,
	delivered BIGINT NOT NULL,
	dead BIGINT NOT NULL,
	cancelled BIGINT NOT NULL,
	discarded BIGINT NOT NULL,
	backlog BIGINT NOT NULL,
	by_backend JSONB,
	oldest TIMESTAMP WITH TIME ZONE,
	lasting BOOLEAN NOT NULL,
	CONSTRAINT pk_samples PRIMARY KEY (at)
)""",
    """CREATE INDEX ix_samples_fleeting ON samples (at) WHERE NOT lasting""",
    """COMMENT ON TABLE samples IS 'how Relais stood every few seconds; the older, the fewer'""",
    """COMMENT ON COLUMN samples.accepted IS 'orders ever accepted'""",
    """COMMENT ON COLUMN samples.delivered IS 'times that an order became so, ever; as the three below'""",
    """COMMENT ON COLUMN samples.backlog IS 'orders that were not final'""",
    """COMMENT ON COLUMN samples.by_backend IS 'the backlog by backend; null when it took too long to count'""",
    """COMMENT ON COLUMN samples.oldest IS 'when the oldest of the backlog was accepted; null when there was none'""",
    """COMMENT ON COLUMN samples.lasting IS 'the first of its minute, which is kept longer'""",
]


def upgrade() -> None:
    """Add them to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
