"""A change of accounts, clients or keys takes an act that names whom it is about; any act would do until now."""

from alembic import op

revision = "0037"
down_revision = "0036"

STATEMENTS = [
    "DROP TRIGGER recorded ON accounts",
    "DROP TRIGGER recorded ON clients",
    "DROP TRIGGER recorded ON keys",
    "DROP TRIGGER recorded ON receipt_keys",
    "DROP FUNCTION relais_recorded",
    """CREATE FUNCTION relais_recorded() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  named jsonb := '{}';
BEGIN
FOR place IN 1 .. TG_NARGS - 1 BY 2 LOOP
  named := named || jsonb_build_object(TG_ARGV[place + 1], to_jsonb(NEW) -> TG_ARGV[place]);
END LOOP;
IF NOT pg_has_role(session_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')
  AND NOT EXISTS (SELECT FROM operations
    WHERE tx = relais_tx() AND act LIKE TG_ARGV[0] || ' %' AND detail @> named) THEN
RAISE EXCEPTION 'a change of % that no act records', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END IF;
RETURN NULL;
END $$""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR UPDATE ON accounts
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
EXECUTE FUNCTION relais_recorded('account', 'name', 'account')""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR UPDATE ON clients
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
EXECUTE FUNCTION relais_recorded('client', 'name', 'client')""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR UPDATE OF hash, client, scopes, expires_at ON keys
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
EXECUTE FUNCTION relais_recorded('client', 'client', 'client')""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT ON receipt_keys
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
EXECUTE FUNCTION relais_recorded('key', 'backend', 'backend', 'key_id', 'key')""",
    """CREATE CONSTRAINT TRIGGER recorded_change AFTER UPDATE ON receipt_keys
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
EXECUTE FUNCTION relais_recorded('key', 'backend', 'backend')""",
]


def upgrade() -> None:
    """No row is touched."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
