# ruff: noqa: E501 - the statements as PostgreSQL got them
"""The journal as first laid: tables, partial indexes, append-only guards and the transitions of a delivery."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = [
    """CREATE TABLE orders (
    id UUID NOT NULL,
    pharmacy TEXT NOT NULL,
    reference TEXT NOT NULL,
    body BYTEA NOT NULL,
    digest BYTEA NOT NULL,
    received_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    client TEXT NOT NULL,
    CONSTRAINT pk_orders PRIMARY KEY (id),
    CONSTRAINT uq_orders_pharmacy_reference UNIQUE (pharmacy, reference)
)""",
    """COMMENT ON TABLE orders IS 'every order as accepted; append-only'""",
    """COMMENT ON COLUMN orders.id IS 'UUIDv7, also the idempotency key'""",
    """COMMENT ON COLUMN orders.reference IS 'the pharmacy''s own order number'""",
    """COMMENT ON COLUMN orders.body IS 'canonical bytes (RFC 8785), exactly as forwarded'""",
    """COMMENT ON COLUMN orders.digest IS 'SHA-256 of body'""",
    """COMMENT ON COLUMN orders.client IS 'who handed it over'""",
    """CREATE TABLE deliveries (
    order_id UUID NOT NULL,
    state TEXT NOT NULL,
    backend TEXT NOT NULL,
    priority SMALLINT NOT NULL,
    cut_off TIMESTAMP WITH TIME ZONE NOT NULL,
    accepted_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    attempts SMALLINT DEFAULT '0' NOT NULL,
    lease UUID,
    lease_until TIMESTAMP WITH TIME ZONE,
    unsure BOOLEAN DEFAULT 'false' NOT NULL,
    failed_at TIMESTAMP WITH TIME ZONE,
    reason TEXT,
    error TEXT,
    settled_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_deliveries PRIMARY KEY (order_id),
    CONSTRAINT ck_deliveries_state CHECK (state IN ('accepted', 'dispatched', 'delivering', 'submitted', 'delivered', 'dead', 'cancelled', 'discarded'))
)
 WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0)""",
    """CREATE INDEX ix_deliveries_submitted ON deliveries (backend, due_at) WHERE state = 'submitted'""",
    """CREATE INDEX ix_deliveries_dead ON deliveries (reason, order_id) WHERE state = 'dead'""",
    """CREATE INDEX ix_deliveries_due ON deliveries (backend, priority, cut_off, order_id) WHERE state = 'accepted'""",
    """CREATE INDEX ix_deliveries_out ON deliveries (backend, lease_until) WHERE state IN ('dispatched', 'delivering')""",
    """COMMENT ON TABLE deliveries IS 'one narrow row per order; the only hot table'""",
    """COMMENT ON COLUMN deliveries.priority IS '0 urgent, 1 normal'""",
    """COMMENT ON COLUMN deliveries.cut_off IS '''infinity'' when the order names none'""",
    """COMMENT ON COLUMN deliveries.due_at IS 'not dispatched or polled before'""",
    """COMMENT ON COLUMN deliveries.attempts IS 'that count; an outage''s don''t'""",
    """COMMENT ON COLUMN deliveries.lease IS 'who holds it; settling needs it (fencing)'""",
    """COMMENT ON COLUMN deliveries.lease_until IS 'dispatched: claim by then; delivering: settle by then'""",
    """COMMENT ON COLUMN deliveries.unsure IS 'ask `find` before sending'""",
    """COMMENT ON COLUMN deliveries.failed_at IS 'of the last attempt that failed'""",
    """COMMENT ON COLUMN deliveries.reason IS 'of a dead letter'""",
    """COMMENT ON COLUMN deliveries.error IS 'the last one'""",
    """COMMENT ON COLUMN deliveries.settled_at IS 'when it became final'""",
    """CREATE TABLE attempts (
    order_id UUID NOT NULL,
    lease UUID NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE NOT NULL,
    outcome TEXT NOT NULL,
    status SMALLINT,
    detail TEXT NOT NULL,
    worker TEXT NOT NULL,
    CONSTRAINT pk_attempts PRIMARY KEY (order_id, lease, outcome)
)""",
    """COMMENT ON TABLE attempts IS 'every attempt; append-only'""",
    """COMMENT ON COLUMN attempts.lease IS 'of the claim; settling again writes nothing twice'""",
    """COMMENT ON COLUMN attempts.outcome IS 'workers.erp.port.Kind, or lease_expired'""",
    """COMMENT ON COLUMN attempts.status IS 'HTTP''s, where there was one'""",
    """CREATE TABLE receipts (
    order_id UUID NOT NULL,
    lease UUID NOT NULL,
    backend TEXT NOT NULL,
    reference TEXT NOT NULL,
    digest BYTEA,
    lines JSONB NOT NULL,
    signature TEXT,
    received_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_receipts PRIMARY KEY (order_id, lease)
)""",
    """COMMENT ON TABLE receipts IS 'the ERP''s answers; append-only'""",
    """COMMENT ON COLUMN receipts.lease IS 'of the claim that brought it'""",
    """COMMENT ON COLUMN receipts.reference IS 'the ERP''s own'""",
    """COMMENT ON COLUMN receipts.digest IS 'SHA-256 that the ERP computed of what it received'""",
    """COMMENT ON COLUMN receipts.lines IS '[{line, product, accepted, reason}]'""",
    """CREATE TABLE backends (
    name TEXT NOT NULL,
    circuit TEXT DEFAULT 'closed' NOT NULL,
    "window" INTEGER NOT NULL,
    failures INTEGER DEFAULT '0' NOT NULL,
    trips INTEGER DEFAULT '0' NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    probe_at TIMESTAMP WITH TIME ZONE,
    shrunk_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    succeeded_at TIMESTAMP WITH TIME ZONE,
    paused BOOLEAN DEFAULT 'false' NOT NULL,
    quarantined BOOLEAN DEFAULT 'false' NOT NULL,
    why TEXT,
    held_why TEXT,
    CONSTRAINT pk_backends PRIMARY KEY (name),
    CONSTRAINT ck_backends_circuit CHECK (circuit IN ('closed', 'open', 'half_open'))
)""",
    """COMMENT ON TABLE backends IS 'one row per backend; read in the claim itself'""",
    """COMMENT ON COLUMN backends."window" IS 'orders out at once'""",
    """COMMENT ON COLUMN backends.failures IS 'in a row'""",
    """COMMENT ON COLUMN backends.trips IS 'openings without a success between'""",
    """COMMENT ON COLUMN backends.changed_at IS 'of the circuit'""",
    """COMMENT ON COLUMN backends.probe_at IS 'when an open circuit sends its canary'""",
    """COMMENT ON COLUMN backends.succeeded_at IS 'last order that the ERP answered for'""",
    """COMMENT ON COLUMN backends.why IS 'of an open circuit'""",
    """COMMENT ON COLUMN backends.held_why IS 'of pause or quarantine, in an operator''s words'""",
    """CREATE TABLE operations (
    id BIGINT GENERATED BY DEFAULT AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    operator TEXT NOT NULL,
    act TEXT NOT NULL,
    reason TEXT,
    detail JSONB NOT NULL,
    CONSTRAINT pk_operations PRIMARY KEY (id)
)""",
    """COMMENT ON TABLE operations IS 'who did what, when and why; append-only'""",
    """CREATE TABLE clients (
    name TEXT NOT NULL,
    key_hash BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_clients PRIMARY KEY (name),
    CONSTRAINT uq_clients_key_hash UNIQUE (key_hash)
)""",
    """COMMENT ON TABLE clients IS 'who may hand over orders'""",
    """COMMENT ON COLUMN clients.key_hash IS 'SHA-256 of a 256-bit random key'""",
    """CREATE FUNCTION relais_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$""",
    """CREATE FUNCTION relais_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'a delivery may not go from % to %', OLD.state, NEW.state
USING ERRCODE = 'restrict_violation'; END $$""",
    """CREATE TRIGGER transition BEFORE UPDATE OF state ON deliveries FOR EACH ROW WHEN (OLD.state <> NEW.state AND NOT ((OLD.state, NEW.state) IN (('accepted', 'cancelled'), ('accepted', 'dispatched'), ('dead', 'accepted'), ('dead', 'discarded'), ('delivering', 'accepted'), ('delivering', 'dead'), ('delivering', 'delivered'), ('delivering', 'submitted'), ('dispatched', 'accepted'), ('dispatched', 'delivering'), ('submitted', 'accepted'), ('submitted', 'dead'), ('submitted', 'delivered')))) EXECUTE FUNCTION relais_transition()""",
    """CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON deliveries FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()""",
    """CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orders FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()""",
    """CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON attempts FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()""",
    """CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receipts FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()""",
    """CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON operations FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()""",
]


def upgrade() -> None:
    """Lay the journal."""
    for statement in STATEMENTS:
        op.execute(statement)
