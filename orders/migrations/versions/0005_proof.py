# ruff: noqa: E501 - the statements as PostgreSQL got them
"""What the proof leans on: the transaction that wrote each row, the seals over blocks of them, and their anchors."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = [
    """CREATE FUNCTION relais_tx() RETURNS bigint LANGUAGE sql STABLE AS $$SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint) + 0$$""",
    """CREATE FUNCTION relais_tx_floor() RETURNS bigint LANGUAGE sql STABLE AS $$SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) + 0$$""",
    """CREATE FUNCTION relais_tx_ceiling() RETURNS bigint LANGUAGE sql STABLE AS $$SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint) + 0$$""",
    """ALTER TABLE orders ADD COLUMN tx BIGINT DEFAULT relais_tx() NOT NULL""",
    """COMMENT ON COLUMN orders.tx IS 'that wrote it: tells its block'""",
    """CREATE INDEX ix_orders_tx ON orders USING brin (tx) WITH (pages_per_range = 32, autosummarize = true)""",
    """ALTER TABLE attempts ADD COLUMN tx BIGINT DEFAULT relais_tx() NOT NULL""",
    """COMMENT ON COLUMN attempts.tx IS 'that wrote it: tells its block'""",
    """CREATE INDEX ix_attempts_tx ON attempts USING brin (tx) WITH (pages_per_range = 32, autosummarize = true)""",
    """ALTER TABLE receipts ADD COLUMN tx BIGINT DEFAULT relais_tx() NOT NULL""",
    """COMMENT ON COLUMN receipts.tx IS 'that wrote it: tells its block'""",
    """CREATE INDEX ix_receipts_tx ON receipts USING brin (tx) WITH (pages_per_range = 32, autosummarize = true)""",
    """ALTER TABLE operations ADD COLUMN tx BIGINT DEFAULT relais_tx() NOT NULL""",
    """COMMENT ON COLUMN operations.tx IS 'that wrote it: tells its block'""",
    """CREATE INDEX ix_operations_tx ON operations USING brin (tx) WITH (pages_per_range = 32, autosummarize = true)""",
    """ALTER TABLE evidence ADD COLUMN tx BIGINT DEFAULT relais_tx() NOT NULL""",
    """COMMENT ON COLUMN evidence.tx IS 'that wrote it: tells its block'""",
    """CREATE INDEX ix_evidence_tx ON evidence USING brin (tx) WITH (pages_per_range = 32, autosummarize = true)""",
    """CREATE TABLE seals (
    block BIGINT NOT NULL,
    format SMALLINT NOT NULL,
    epoch INTEGER NOT NULL,
    from_tx BIGINT NOT NULL,
    to_tx BIGINT NOT NULL,
    tables JSONB NOT NULL,
    sealed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    why TEXT,
    previous BYTEA NOT NULL,
    mac BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    signature BYTEA NOT NULL,
    CONSTRAINT pk_seals PRIMARY KEY (block)
)""",
    """COMMENT ON TABLE seals IS 'the chain that closes block after block; append-only'""",
    """COMMENT ON COLUMN seals.format IS 'of what it covers and how that is written'""",
    """COMMENT ON COLUMN seals.epoch IS 'of the transactions'' numbers, see orders.schema.epochs'""",
    """COMMENT ON COLUMN seals.to_tx IS 'the first that is not in the block'""",
    """COMMENT ON COLUMN seals.tables IS 'of each table its rows and the SHA-256 of their bytes'""",
    """COMMENT ON COLUMN seals.why IS 'of a break in the chain, or an operator''s word on one'""",
    """COMMENT ON COLUMN seals.previous IS 'mac of the block before'""",
    """COMMENT ON COLUMN seals.mac IS 'HMAC-SHA-256 of all the above'""",
    """COMMENT ON COLUMN seals.signature IS 'Ed25519, of all the above and the mac'""",
    """CREATE TABLE anchors (
    place TEXT NOT NULL,
    block BIGINT NOT NULL,
    written_at TIMESTAMP WITH TIME ZONE,
    error TEXT,
    CONSTRAINT pk_anchors PRIMARY KEY (place)
)""",
    """COMMENT ON TABLE anchors IS 'how far the chain is written outside the database'""",
    """COMMENT ON COLUMN anchors.place IS 'RELAIS_ANCHOR, and the host where it is a file'""",
    """COMMENT ON COLUMN anchors.block IS 'the last one written there'""",
    """COMMENT ON COLUMN anchors.error IS 'why newer blocks are not there'""",
    """CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON seals FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()""",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders: all of them are of one transaction, this one, and of one block."""
    for statement in STATEMENTS:
        op.execute(statement)
