"""What a backend's ERP calls products and pharmacies, version after version."""

from alembic import op

revision = "0042"
down_revision = "0041"

STATEMENTS = [
    "CREATE TABLE mappings (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT clock_timestamp() NOT NULL, "
    "backend text NOT NULL, version integer NOT NULL, kind text NOT NULL, code text NOT NULL, target text, "
    "price_list text, warehouse text, tx bigint DEFAULT relais_tx() NOT NULL, CONSTRAINT pk_mappings PRIMARY KEY (id))",
    "COMMENT ON TABLE mappings IS 'what a backend''s ERP calls products and pharmacies; append-only'",
    "COMMENT ON COLUMN mappings.version IS 'of the backend''s mapping; one for each import'",
    "COMMENT ON COLUMN mappings.kind IS 'orders.states.CodeKind'",
    "COMMENT ON COLUMN mappings.code IS 'as orders have it: CIP13, ACL13 or UCD13; the pharmacy'",
    "COMMENT ON COLUMN mappings.target IS 'the ERP''s article or customer number; null: no longer mapped'",
    "COMMENT ON COLUMN mappings.price_list IS 'of a pharmacy, where it has one'",
    "COMMENT ON COLUMN mappings.warehouse IS 'of a pharmacy, where it has one'",
    "COMMENT ON COLUMN mappings.tx IS 'that wrote it: tells its block'",
    "CREATE INDEX ix_mappings_tx ON mappings USING brin (tx) WITH (pages_per_range = 32, autosummarize = true)",
    "CREATE UNIQUE INDEX uq_mappings_backend_kind_code_version ON mappings (backend, kind, code, version)",
    "CREATE INDEX ix_mappings_backend_version ON mappings (backend, version)",
    "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON mappings "
    "FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()",
    "CREATE TRIGGER durable BEFORE INSERT OR UPDATE OR DELETE ON mappings "
    "FOR EACH STATEMENT EXECUTE FUNCTION relais_durable()",
    "CREATE TRIGGER mapped AFTER INSERT ON mappings FOR EACH STATEMENT WHEN (NOT "
    "has_any_column_privilege(CAST('receipts' AS regclass), 'INSERT')) EXECUTE FUNCTION relais_asked('mapping import')",
    "DROP TRIGGER named ON changes",
    """CREATE CONSTRAINT TRIGGER named AFTER INSERT ON changes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.source IN ('deliveries', 'notices', 'asides', 'mappings')) EXECUTE FUNCTION relais_named()""",
]


def upgrade() -> None:
    """Nothing is mapped yet."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
