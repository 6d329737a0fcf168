# ruff: noqa: E501 - the statements as PostgreSQL got them
"""How far a backend is trusted: the keys that sign its receipts, what speaks against it, and how much it refuses."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = [
    """CREATE TABLE receipt_keys (backend TEXT NOT NULL, key_id TEXT NOT NULL, public BYTEA NOT NULL, added_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, expires_at TIMESTAMP WITH TIME ZONE, revoked_at TIMESTAMP WITH TIME ZONE, why TEXT, CONSTRAINT pk_receipt_keys PRIMARY KEY (backend, key_id))""",
    """COMMENT ON TABLE receipt_keys IS 'the keys that sign a backend''s receipts, in force and out of it'""",
    """COMMENT ON COLUMN receipt_keys.key_id IS 'the kid of a signature'""",
    """COMMENT ON COLUMN receipt_keys.public IS 'Ed25519, 32 bytes'""",
    """COMMENT ON COLUMN receipt_keys.expires_at IS 'out of force from then on; null is never'""",
    """COMMENT ON COLUMN receipt_keys.revoked_at IS 'out of force for good'""",
    """COMMENT ON COLUMN receipt_keys.why IS 'of the revocation'""",
    """CREATE TABLE evidence (id BIGINT GENERATED ALWAYS AS IDENTITY, at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL, backend TEXT NOT NULL, order_id UUID, lease UUID NOT NULL, kind TEXT NOT NULL, conclusive BOOLEAN NOT NULL, detail TEXT NOT NULL, answer BYTEA, CONSTRAINT pk_evidence PRIMARY KEY (id))""",
    """COMMENT ON TABLE evidence IS 'what speaks against a backend; append-only'""",
    """COMMENT ON COLUMN evidence.order_id IS 'null where it is about no single order'""",
    """COMMENT ON COLUMN evidence.lease IS 'of the claim that met it; settling again writes nothing twice'""",
    """COMMENT ON COLUMN evidence.kind IS 'workers.erp.port.Evidence'""",
    """COMMENT ON COLUMN evidence.conclusive IS 'it is proof, and quarantined the backend'""",
    """COMMENT ON COLUMN evidence.answer IS 'as it came, the first 64 KiB of it'""",
    """CREATE INDEX ix_evidence_backend_id ON evidence (backend, id)""",
    """CREATE UNIQUE INDEX uq_evidence_lease_kind_order_id ON evidence (lease, kind, order_id) NULLS NOT DISTINCT""",
    """CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON evidence FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()""",
    """ALTER TABLE backends ADD COLUMN answered DOUBLE PRECISION DEFAULT '0' NOT NULL, ADD COLUMN refused DOUBLE PRECISION DEFAULT '0' NOT NULL""",
    """COMMENT ON COLUMN backends.answered IS 'orders it answered lately, the older the less they count'""",
    """COMMENT ON COLUMN backends.refused IS 'of those, how many it refused'""",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
