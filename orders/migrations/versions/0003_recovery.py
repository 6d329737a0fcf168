# ruff: noqa: E501 - the statements as PostgreSQL got them
"""What a recovery leans on: an order's turn and age in a replay, who signed a receipt, a backend's norm, a resend."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = [
    """ALTER TABLE deliveries ADD COLUMN turn INTEGER DEFAULT '0' NOT NULL, ADD COLUMN aged_from TIMESTAMP WITH TIME ZONE""",
    """COMMENT ON COLUMN deliveries.turn IS 'among its pharmacy''s, given by a replay'""",
    """COMMENT ON COLUMN deliveries.aged_from IS 'a person put it through again: it is as fresh as then'""",
    """DROP INDEX ix_deliveries_due""",
    """CREATE INDEX ix_deliveries_due ON deliveries (backend, priority, cut_off, turn, order_id) WHERE state = 'accepted'""",
    """ALTER TABLE receipts ADD COLUMN key_id TEXT""",
    """COMMENT ON COLUMN receipts.key_id IS 'of the key that signed it and was in force; null when it is not signed'""",
    """CREATE INDEX ix_receipts_backend_received_at_order_id ON receipts (backend, received_at, order_id)""",
    """CREATE INDEX ix_receipts_backend_reference ON receipts (backend, reference)""",
    """ALTER TABLE backends ADD COLUMN quarantined_at TIMESTAMP WITH TIME ZONE, ADD COLUMN quarantined_by TEXT, ADD COLUMN rate DOUBLE PRECISION, ADD COLUMN latency DOUBLE PRECISION, ADD COLUMN refusing DOUBLE PRECISION""",
    """COMMENT ON COLUMN backends.quarantined_by IS 'an operator, or relais itself on evidence'""",
    """COMMENT ON COLUMN backends.rate IS 'orders a second at most, across all workers; null without a cap'""",
    """COMMENT ON COLUMN backends.latency IS 'seconds that an order takes with it when all is well, a moving average'""",
    """COMMENT ON COLUMN backends.refusing IS 'share of orders that it refuses when all is well, a moving average'""",
    """DROP TRIGGER transition ON deliveries""",
    """CREATE TRIGGER transition BEFORE UPDATE OF state ON deliveries FOR EACH ROW WHEN (OLD.state <> NEW.state AND NOT ((OLD.state, NEW.state) IN (('accepted', 'cancelled'), ('accepted', 'dead'), ('accepted', 'dispatched'), ('dead', 'accepted'), ('dead', 'cancelled'), ('dead', 'discarded'), ('delivered', 'accepted'), ('delivering', 'accepted'), ('delivering', 'dead'), ('delivering', 'delivered'), ('delivering', 'submitted'), ('dispatched', 'accepted'), ('dispatched', 'cancelled'), ('dispatched', 'delivering'), ('submitted', 'accepted'), ('submitted', 'dead'), ('submitted', 'delivered')))) EXECUTE FUNCTION relais_transition()""",
    """DROP TRIGGER event ON deliveries""",
    """CREATE TRIGGER event AFTER UPDATE OF state ON deliveries FOR EACH ROW WHEN (OLD.state <> NEW.state AND (NEW.state IN ('submitted', 'delivered', 'dead', 'cancelled', 'discarded') OR OLD.state IN ('dead', 'delivered'))) EXECUTE FUNCTION relais_event()""",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders."""
    for statement in STATEMENTS:
        op.execute(statement)
