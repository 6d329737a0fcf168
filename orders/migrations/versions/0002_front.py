# ruff: noqa: E501 - the statements as PostgreSQL got them
"""What the front end leans on: keys with scopes, request ids, events, webhooks, the spill's leftovers, expiry."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = [
    """ALTER TABLE orders ADD COLUMN request_id TEXT, ADD COLUMN idempotency_key TEXT, ADD COLUMN origin JSONB""",
    """CREATE INDEX ix_orders_origin ON orders (pharmacy, id) WHERE origin IS NOT NULL""",
    """CREATE INDEX ix_orders_pharmacy_id ON orders (pharmacy, id)""",
    """CREATE UNIQUE INDEX uq_orders_client_idempotency_key ON orders (client, idempotency_key) WHERE idempotency_key IS NOT NULL""",
    """COMMENT ON COLUMN orders.request_id IS 'of the request that brought it'""",
    """COMMENT ON COLUMN orders.idempotency_key IS 'the client''s own, beside (pharmacy, reference)'""",
    """COMMENT ON COLUMN orders.origin IS 'what the answer in another protocol will need'""",
    """ALTER TABLE deliveries ADD COLUMN valid_until TIMESTAMP WITH TIME ZONE""",
    """UPDATE deliveries d SET valid_until = CAST(CAST(convert_from(o.body, 'UTF8') AS jsonb) ->> 'valid_until' AS timestamptz)
FROM orders o WHERE o.id = d.order_id AND d.state IN ('accepted', 'dispatched', 'delivering', 'submitted')
AND position('"valid_until"' in convert_from(o.body, 'UTF8')) > 0""",
    """CREATE INDEX ix_deliveries_expiring ON deliveries (backend, valid_until) WHERE state = 'accepted' AND valid_until IS NOT NULL AND NOT unsure""",
    """COMMENT ON COLUMN deliveries.valid_until IS 'not to be forwarded after; null when the order names none'""",
    """CREATE TABLE events (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    order_id UUID NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    error TEXT,
    CONSTRAINT pk_events PRIMARY KEY (id)
)""",
    """CREATE INDEX ix_events_order_id_id ON events (order_id, id)""",
    """COMMENT ON TABLE events IS 'what the front end wants to hear of; written by a trigger on deliveries; append-only'""",
    """COMMENT ON COLUMN events.id IS 'grows along an order''s life'""",
    """COMMENT ON COLUMN events.state IS 'that the delivery went to'""",
    """CREATE TABLE keys (
    fingerprint TEXT NOT NULL,
    hash BYTEA NOT NULL,
    client TEXT NOT NULL,
    scopes TEXT[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    last_used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_keys PRIMARY KEY (fingerprint)
)""",
    """CREATE INDEX ix_keys_client ON keys (client)""",
    """COMMENT ON TABLE keys IS 'API keys, in force and out of it'""",
    """COMMENT ON COLUMN keys.fingerprint IS 'the first 12 hexadecimal digits of hash'""",
    """COMMENT ON COLUMN keys.hash IS 'SHA-256 of a 256-bit random key'""",
    """COMMENT ON COLUMN keys.expires_at IS 'out of force from then on; null is never'""",
    """COMMENT ON COLUMN keys.last_used_at IS 'to half a minute'""",
    """INSERT INTO keys (fingerprint, hash, client, scopes, created_at, expires_at)
SELECT left(encode(key_hash, 'hex'), 12), key_hash, name, ARRAY['orders:write', 'orders:read'], created_at, revoked_at
FROM clients""",
    """ALTER TABLE clients DROP COLUMN key_hash, DROP COLUMN revoked_at, ADD COLUMN pharmacies TEXT[], ADD COLUMN rate DOUBLE PRECISION, ADD COLUMN burst INTEGER""",
    """COMMENT ON TABLE clients IS 'who may hand over orders, and for whom'""",
    """COMMENT ON COLUMN clients.pharmacies IS 'that it may order for; null is any'""",
    """COMMENT ON COLUMN clients.rate IS 'orders a second; null is the default of the settings'""",
    """COMMENT ON COLUMN clients.burst IS 'orders at once; null is two seconds'' worth'""",
    """CREATE TABLE webhooks (
    client TEXT NOT NULL,
    url TEXT NOT NULL,
    secrets TEXT[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    succeeded_at TIMESTAMP WITH TIME ZONE,
    failing_since TIMESTAMP WITH TIME ZONE,
    disabled_at TIMESTAMP WITH TIME ZONE,
    why TEXT,
    CONSTRAINT pk_webhooks PRIMARY KEY (client)
)""",
    """COMMENT ON TABLE webhooks IS 'where a client wants to hear of its orders'""",
    """COMMENT ON COLUMN webhooks.secrets IS 'whsec_…, the newest first; each signs'""",
    """COMMENT ON COLUMN webhooks.failing_since IS 'first failure since the last success'""",
    """COMMENT ON COLUMN webhooks.disabled_at IS 'its notices wait until an operator enables it'""",
    """COMMENT ON COLUMN webhooks.why IS 'of the last failure'""",
    """CREATE TABLE notices (
    id UUID NOT NULL,
    event_id BIGINT NOT NULL,
    order_id UUID NOT NULL,
    client TEXT NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    attempts SMALLINT DEFAULT '0' NOT NULL,
    lease UUID,
    error TEXT,
    told_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_notices PRIMARY KEY (id)
) WITH (fillfactor = 80)""",
    """CREATE INDEX ix_notices_due ON notices (client, due_at) WHERE told_at IS NULL""",
    """CREATE INDEX ix_notices_order_id ON notices (order_id)""",
    """COMMENT ON TABLE notices IS 'what webhooks are still to be told, and were'""",
    """COMMENT ON COLUMN notices.id IS 'the webhook-id, the same at every try'""",
    """COMMENT ON COLUMN notices.lease IS 'who holds it; settling needs it (fencing)'""",
    """COMMENT ON COLUMN notices.error IS 'the last one'""",
    """COMMENT ON COLUMN notices.told_at IS 'when the webhook took it'""",
    """CREATE TABLE asides (
    digest BYTEA NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    kind TEXT NOT NULL,
    told UUID,
    order_id UUID,
    why TEXT NOT NULL,
    raw BYTEA NOT NULL,
    number BIGINT GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT pk_asides PRIMARY KEY (digest)
)""",
    """CREATE INDEX ix_asides_told ON asides (told) WHERE told IS NOT NULL""",
    """COMMENT ON TABLE asides IS 'what was in the spill and did not become an order; append-only'""",
    """COMMENT ON COLUMN asides.digest IS 'SHA-256 of raw: keeping it again changes nothing'""",
    """COMMENT ON COLUMN asides.kind IS 'repeated, conflict, reused, forged or unreadable'""",
    """COMMENT ON COLUMN asides.told IS 'the id that was answered for it, where it is known'""",
    """COMMENT ON COLUMN asides.order_id IS 'the order that has its place'""",
    """COMMENT ON COLUMN asides.raw IS 'as found in the spill'""",
    """COMMENT ON COLUMN asides.number IS 'in the order of finding'""",
    """CREATE TABLE pharmaml_acknowledged (
    order_id UUID NOT NULL,
    at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_pharmaml_acknowledged PRIMARY KEY (order_id)
)""",
    """COMMENT ON TABLE pharmaml_acknowledged IS 'replies that the pharmacy''s software took out of the deposit'""",
    """DROP TRIGGER transition ON deliveries""",
    """CREATE TRIGGER transition BEFORE UPDATE OF state ON deliveries FOR EACH ROW WHEN (OLD.state <> NEW.state AND NOT ((OLD.state, NEW.state) IN (('accepted', 'cancelled'), ('accepted', 'dead'), ('accepted', 'dispatched'), ('dead', 'accepted'), ('dead', 'cancelled'), ('dead', 'discarded'), ('delivering', 'accepted'), ('delivering', 'dead'), ('delivering', 'delivered'), ('delivering', 'submitted'), ('dispatched', 'accepted'), ('dispatched', 'cancelled'), ('dispatched', 'delivering'), ('submitted', 'accepted'), ('submitted', 'dead'), ('submitted', 'delivered')))) EXECUTE FUNCTION relais_transition()""",
    """CREATE FUNCTION relais_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE event bigint;
BEGIN
INSERT INTO events (order_id, state, reason, error) VALUES (NEW.order_id, NEW.state, NEW.reason, NEW.error)
RETURNING id INTO event;
IF NEW.state IN ('delivered', 'dead', 'cancelled') THEN
INSERT INTO notices (id, event_id, order_id, client)
SELECT gen_random_uuid(), event, NEW.order_id, w.client FROM orders o JOIN webhooks w ON w.client = o.client
WHERE o.id = NEW.order_id;
IF FOUND THEN PERFORM pg_notify('relais_notice', ''); END IF;
END IF;
PERFORM pg_notify('relais_event', '');
RETURN NULL;
END $$""",
    """CREATE TRIGGER event AFTER UPDATE OF state ON deliveries FOR EACH ROW WHEN (OLD.state <> NEW.state AND (NEW.state IN ('submitted', 'delivered', 'dead', 'cancelled', 'discarded') OR OLD.state = 'dead')) EXECUTE FUNCTION relais_event()""",
    """CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()""",
    """CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON asides FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()""",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
