"""Each change of who is trusted, with what: keys, accounts and releases, kept by the database itself."""

from alembic import op

revision = "0027"
down_revision = "0024"

STATEMENTS = [
    "CREATE TABLE changes (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT clock_timestamp() NOT NULL, "
    "login text DEFAULT session_user NOT NULL, source text NOT NULL, content jsonb NOT NULL, "
    "tx bigint DEFAULT relais_tx() NOT NULL, CONSTRAINT pk_changes PRIMARY KEY (id))",
    "COMMENT ON TABLE changes IS 'of what is trusted, written by triggers whoever makes them; append-only'",
    "COMMENT ON COLUMN changes.login IS 'of PostgreSQL, that made it'",
    "COMMENT ON COLUMN changes.source IS 'the table'",
    "COMMENT ON COLUMN changes.content IS 'as it is since, without hashes of passwords'",
    "COMMENT ON COLUMN changes.tx IS 'that wrote it: tells its block'",
    "CREATE INDEX ix_changes_tx ON changes USING brin (tx) WITH (pages_per_range = 32, autosummarize = true)",
    "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON changes "
    "FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()",
    "CREATE TRIGGER durable BEFORE INSERT OR UPDATE OR DELETE ON changes FOR EACH STATEMENT "
    "WHEN (current_setting('synchronous_commit') = 'off') EXECUTE FUNCTION relais_durable()",
    """CREATE FUNCTION relais_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
INSERT INTO public.changes (source, content) VALUES (TG_TABLE_NAME, to_jsonb(NEW) - 'password' - 'hash');
RETURN NULL;
END $$""",
    "CREATE TRIGGER changed AFTER INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION relais_changed()",
    "CREATE TRIGGER changed AFTER INSERT OR UPDATE ON clients FOR EACH ROW EXECUTE FUNCTION relais_changed()",
    "CREATE TRIGGER changed AFTER INSERT OR UPDATE OF hash, client, scopes, expires_at ON keys "
    "FOR EACH ROW EXECUTE FUNCTION relais_changed()",
    "CREATE TRIGGER changed AFTER INSERT OR UPDATE ON receipt_keys FOR EACH ROW EXECUTE FUNCTION relais_changed()",
    "CREATE TRIGGER changed AFTER UPDATE OF quarantined ON backends FOR EACH ROW "
    "WHEN (OLD.quarantined AND NOT NEW.quarantined) EXECUTE FUNCTION relais_changed()",
    """CREATE FUNCTION relais_lasting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
RAISE EXCEPTION '% keeps what it has', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$""",
    "CREATE TRIGGER lasting BEFORE DELETE OR TRUNCATE ON accounts FOR EACH STATEMENT EXECUTE FUNCTION relais_lasting()",
    "CREATE TRIGGER lasting BEFORE DELETE OR TRUNCATE ON receipt_keys "
    "FOR EACH STATEMENT EXECUTE FUNCTION relais_lasting()",
    "CREATE TRIGGER same_key BEFORE UPDATE ON receipt_keys FOR EACH ROW "
    "WHEN ((OLD.backend, OLD.key_id, OLD.public, OLD.added_at) <> (NEW.backend, NEW.key_id, NEW.public, NEW.added_at) "
    "OR OLD.revoked_at IS DISTINCT FROM NEW.revoked_at AND OLD.revoked_at IS NOT NULL "
    "OR coalesce(NEW.expires_at, 'infinity') > coalesce(OLD.expires_at, 'infinity')) "
    "EXECUTE FUNCTION relais_lasting()",
]


def upgrade() -> None:
    """What was changed before is in `operations` alone."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
