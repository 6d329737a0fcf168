# ruff: noqa: E501 - the statements as PostgreSQL got them
"""An order whose place another one has is an order all the same: a dead letter that names its rival."""

from alembic import op

revision = "0020"
down_revision = "0018"

STATEMENTS = [
    "ALTER TABLE orders ADD COLUMN rival uuid",
    "COMMENT ON COLUMN orders.rival IS 'the order that has its place; null when this one has it'",
    "ALTER TABLE orders DROP CONSTRAINT uq_orders_pharmacy_reference",
    "CREATE UNIQUE INDEX uq_orders_pharmacy_reference ON orders (pharmacy, reference) WHERE rival IS NULL",
    "DROP INDEX uq_orders_client_idempotency_key",
    "CREATE UNIQUE INDEX uq_orders_client_idempotency_key ON orders (client, idempotency_key) "
    "WHERE idempotency_key IS NOT NULL AND rival IS NULL",
    "COMMENT ON COLUMN asides.kind IS 'repeated, forged or unreadable; conflict and reused are of older versions'",
    "DROP TRIGGER transition ON deliveries",
    """CREATE TRIGGER transition BEFORE UPDATE OF state ON deliveries FOR EACH ROW WHEN (OLD.state <> NEW.state AND (NOT ((OLD.state, NEW.state) IN (('accepted', 'cancelled'), ('accepted', 'dead'), ('accepted', 'dispatched'), ('dead', 'accepted'), ('dead', 'cancelled'), ('dead', 'discarded'), ('delivered', 'accepted'), ('delivering', 'accepted'), ('delivering', 'dead'), ('delivering', 'delivered'), ('delivering', 'submitted'), ('dispatched', 'accepted'), ('dispatched', 'cancelled'), ('dispatched', 'delivering'), ('submitted', 'accepted'), ('submitted', 'dead'), ('submitted', 'delivered'))) OR (OLD.reason = 'conflict' AND NEW.state = 'accepted'))) EXECUTE FUNCTION relais_transition()""",
    """CREATE TRIGGER event_born AFTER INSERT ON deliveries FOR EACH ROW WHEN (NEW.state IN ('dead', 'cancelled')) EXECUTE FUNCTION relais_event()""",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders: the two indexes are built anew."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
