# ruff: noqa: E501 - the statements as PostgreSQL got them
"""What the console's search and timelines find their way by: products, references, operations by order."""

from alembic import op

revision = "0015"
down_revision = "0014"

STATEMENTS = [
    """CREATE TABLE order_products (
	product BIGINT NOT NULL,
	order_id UUID NOT NULL,
	CONSTRAINT pk_order_products PRIMARY KEY (product, order_id)
)""",
    """COMMENT ON TABLE order_products IS 'which orders hold a product; derived from orders, not sealed'""",
    """COMMENT ON COLUMN order_products.product IS 'the 13 digits as a number'""",
    """CREATE TABLE products_known (
	one SMALLINT DEFAULT '1' NOT NULL,
	after UUID,
	tx BIGINT NOT NULL,
	ceiling BIGINT NOT NULL,
	asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
	complete_at TIMESTAMP WITH TIME ZONE,
	CONSTRAINT pk_products_known PRIMARY KEY (one),
	CONSTRAINT ck_products_known_one CHECK (one = 1)
)""",
    """COMMENT ON TABLE products_known IS 'how far order_products is complete; one row'""",
    """COMMENT ON COLUMN products_known.after IS 'the last old order that was taken; null when all were'""",
    """COMMENT ON COLUMN products_known.tx IS 'every order of an earlier transaction is in, old ones apart'""",
    """COMMENT ON COLUMN products_known.ceiling IS 'when tx is as much, all before asked_at is in'""",
    """COMMENT ON COLUMN products_known.complete_at IS 'every order that was accepted by then is in'""",
    """CREATE TABLE console_secrets (
	name TEXT NOT NULL,
	secret BYTEA NOT NULL,
	made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	CONSTRAINT pk_console_secrets PRIMARY KEY (name)
)""",
    """COMMENT ON TABLE console_secrets IS 'what the consoles sign with, so that each knows another''s writing again'""",
    """COMMENT ON COLUMN console_secrets.secret IS 'random; all consoles of a journal share it'""",
    """CREATE INDEX ix_orders_reference_id ON orders (reference text_pattern_ops, id)""",
    """CREATE INDEX ix_operations_order ON operations ((detail ->> 'order')) WHERE detail ? 'order'""",
    """CREATE INDEX ix_operations_ids ON operations USING gin ((detail -> 'ids') jsonb_path_ops)""",
    """CREATE INDEX ix_seals_to_tx ON seals (to_tx)""",
]


def upgrade() -> None:
    """Add them to a journal that may hold orders; their products are found little by little, by the workers."""
    for statement in STATEMENTS:
        op.execute(statement)
