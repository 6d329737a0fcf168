"""What an operator's process changes has an act in its transaction: orders, backends, replays, webhooks, too."""

from alembic import op

revision = "0039"
down_revision = "0038"

STATEMENTS = [
    "DROP TRIGGER recorded ON accounts",
    "DROP TRIGGER recorded ON clients",
    "DROP TRIGGER recorded ON keys",
    "DROP TRIGGER recorded ON receipt_keys",
    "DROP TRIGGER recorded_change ON receipt_keys",
    "DROP FUNCTION relais_recorded",
    """CREATE FUNCTION relais_recorded() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  content jsonb := CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
  named jsonb := '{}';
BEGIN
FOR place IN 1 .. TG_NARGS - 1 BY 2 LOOP
  named := named || jsonb_build_object(TG_ARGV[place + 1], content -> TG_ARGV[place]);
END LOOP;
IF NOT pg_has_role(session_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')
  AND NOT EXISTS (SELECT FROM operations WHERE tx = relais_tx() AND act ~ TG_ARGV[0] AND detail @> named) THEN
RAISE EXCEPTION 'a change of % that no act records', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END IF;
RETURN NULL;
END $$""",
    """CREATE FUNCTION relais_moved() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
INSERT INTO changes (source, content)
SELECT TG_TABLE_NAME, jsonb_strip_nulls(jsonb_build_object('act', act, 'orders', count(*), 'backend', of,
  'ids', jsonb_agg(order_id) FILTER (WHERE of IS NULL)))
FROM (
  SELECT order_id, CASE WHEN same AND turned THEN backend END AS of, CASE WHEN same THEN 'replay'
    WHEN state = before AND backend <> left_one THEN 'divert'
    WHEN backend <> left_one OR state = before THEN NULL
    WHEN state = 'cancelled' THEN 'cancel'
    WHEN state = 'discarded' THEN 'discard'
    WHEN state = 'accepted' AND before = 'dead' THEN 'replay'
    WHEN state = 'accepted' AND before = 'delivered' THEN 'resend' END AS act
  FROM (SELECT b.order_id, b.state, b.backend, w.state AS before, w.backend AS left_one,
    b.turn > 0 OR b.due_at = w.due_at AS turned, b.due_at IN (w.due_at, now())
    AND (b.state, b.backend, b.unsure, b.reason, b.error, b.settled_at, b.aged_from, b.lease_until)
    IS NOT DISTINCT FROM (w.state, w.backend, w.unsure, w.reason, w.error, w.settled_at, w.aged_from, w.lease_until)
    AS same
    FROM became b JOIN was w USING (order_id)) both_sides) moved
GROUP BY act, of;
RETURN NULL;
END $$""",
    """CREATE FUNCTION relais_asked() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
INSERT INTO changes (source, content) VALUES (TG_TABLE_NAME, jsonb_build_object('act', TG_ARGV[0]));
RETURN NULL;
END $$""",
    """CREATE FUNCTION relais_named() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
  about jsonb := NEW.content - 'act' - 'orders' - 'ids';
  told jsonb := (SELECT jsonb_agg(detail) FROM operations
    WHERE tx = relais_tx() AND act ~ concat('^(orders? )?', NEW.content ->> 'act', '$') AND detail @> about);
BEGIN
IF told IS NULL OR NOT NEW.content ? 'act' OR EXISTS (
  SELECT jsonb_array_elements_text(NEW.content -> 'ids')
  EXCEPT SELECT id #>> '{}' FROM jsonb_path_query(told, '$[*].ids.**') AS id WHERE jsonb_typeof(id) = 'string'
  EXCEPT SELECT each ->> 'order' FROM jsonb_array_elements(told) AS each) THEN
RAISE EXCEPTION 'a change of % that no act records', NEW.source USING ERRCODE = 'insufficient_privilege';
END IF;
RETURN NULL;
END $$""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR UPDATE ON accounts DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION relais_recorded('^account ', 'name', 'account')""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR UPDATE ON clients DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION relais_recorded('^client ', 'name', 'client')""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR UPDATE OF hash, client, scopes, expires_at ON
keys DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION relais_recorded('^client ',
'client', 'client')""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT ON receipt_keys DEFERRABLE INITIALLY DEFERRED FOR
EACH ROW EXECUTE FUNCTION relais_recorded('^key ', 'backend', 'backend', 'key_id', 'key')""",
    """CREATE CONSTRAINT TRIGGER recorded_change AFTER UPDATE ON receipt_keys DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION relais_recorded('^key ', 'backend', 'backend')""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR DELETE OR UPDATE ON webhooks DEFERRABLE INITIALLY
DEFERRED FOR EACH ROW WHEN (NOT has_any_column_privilege(SESSION_USER, CAST('receipts' AS regclass),
'INSERT')) EXECUTE FUNCTION relais_recorded('^webhook ', 'client', 'client')""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR UPDATE ON replays DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NOT has_any_column_privilege(SESSION_USER, CAST('receipts' AS regclass),
'INSERT')) EXECUTE FUNCTION relais_recorded('^replay( |$)', 'id', 'replay', 'backend', 'backend')""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT ON reconciliations DEFERRABLE INITIALLY DEFERRED FOR
EACH ROW WHEN (NOT has_any_column_privilege(SESSION_USER, CAST('receipts' AS regclass), 'INSERT'))
EXECUTE FUNCTION relais_recorded('^reconcile$', 'id', 'reconciliation', 'backend', 'backend')""",
    """CREATE CONSTRAINT TRIGGER recorded_pause AFTER UPDATE OF paused ON backends DEFERRABLE INITIALLY
DEFERRED FOR EACH ROW WHEN (NEW.paused AND NOT has_any_column_privilege(SESSION_USER,
CAST('receipts' AS regclass), 'INSERT')) EXECUTE FUNCTION relais_recorded('^pause$', 'name',
'backend')""",
    """CREATE CONSTRAINT TRIGGER recorded_resume AFTER UPDATE OF paused ON backends DEFERRABLE INITIALLY
DEFERRED FOR EACH ROW WHEN (OLD.paused AND NOT NEW.paused AND NOT
has_any_column_privilege(SESSION_USER, CAST('receipts' AS regclass), 'INSERT')) EXECUTE FUNCTION
relais_recorded('^resume$', 'name', 'backend')""",
    """CREATE CONSTRAINT TRIGGER recorded_quarantine AFTER UPDATE OF quarantined ON backends DEFERRABLE
INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.quarantined AND NOT has_any_column_privilege(SESSION_USER,
CAST('receipts' AS regclass), 'INSERT')) EXECUTE FUNCTION relais_recorded('^quarantine$', 'name',
'backend')""",
    """CREATE CONSTRAINT TRIGGER recorded_why AFTER UPDATE OF held_why ON backends DEFERRABLE INITIALLY
DEFERRED FOR EACH ROW WHEN (OLD.held_why IS DISTINCT FROM NEW.held_why AND NOT
has_any_column_privilege(SESSION_USER, CAST('receipts' AS regclass), 'INSERT')) EXECUTE FUNCTION
relais_recorded('^(pause|resume|quarantine|release)$', 'name', 'backend')""",
    """CREATE CONSTRAINT TRIGGER recorded_rate AFTER UPDATE OF rate ON backends DEFERRABLE INITIALLY
DEFERRED FOR EACH ROW WHEN (NOT has_any_column_privilege(SESSION_USER, CAST('receipts' AS regclass),
'INSERT')) EXECUTE FUNCTION relais_recorded('^rate$', 'name', 'backend')""",
    """CREATE CONSTRAINT TRIGGER recorded_pace AFTER UPDATE OF "window", credit, probe_at ON backends
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NOT has_any_column_privilege(SESSION_USER,
CAST('receipts' AS regclass), 'INSERT')) EXECUTE FUNCTION relais_recorded('^(replay|release)$')""",
    """CREATE TRIGGER readmitted AFTER INSERT ON deliveries FOR EACH STATEMENT WHEN (NOT
has_any_column_privilege(CAST('receipts' AS regclass), 'INSERT') AND NOT
has_any_column_privilege(CAST('pharmaml_acknowledged' AS regclass), 'INSERT')) EXECUTE FUNCTION
relais_asked('spill readmit')""",
    """CREATE TRIGGER hurried AFTER UPDATE ON notices FOR EACH STATEMENT WHEN (NOT
has_any_column_privilege(CAST('receipts' AS regclass), 'INSERT')) EXECUTE FUNCTION
relais_asked('webhook enable')""",
    """CREATE TRIGGER dropped AFTER DELETE ON asides FOR EACH STATEMENT WHEN (NOT
has_any_column_privilege(CAST('receipts' AS regclass), 'INSERT')) EXECUTE FUNCTION
relais_asked('spill drop')""",
    """CREATE TRIGGER moved AFTER UPDATE ON deliveries REFERENCING OLD TABLE AS was NEW TABLE AS became
FOR EACH STATEMENT WHEN (NOT has_any_column_privilege(CAST('receipts' AS regclass), 'INSERT'))
EXECUTE FUNCTION relais_moved()""",
    """CREATE CONSTRAINT TRIGGER named AFTER INSERT ON changes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.source IN ('deliveries', 'notices', 'asides')) EXECUTE FUNCTION relais_named()""",
    """CREATE TRIGGER narrowed BEFORE UPDATE OF "window" ON backends FOR EACH ROW
WHEN (NEW."window" > OLD."window"
  AND NOT has_any_column_privilege(SESSION_USER, CAST('receipts' AS regclass), 'INSERT'))
EXECUTE FUNCTION relais_lasting()""",
    "COMMENT ON TABLE changes IS "
    "'of what is trusted and by people, written by triggers whoever makes them; append-only'",
]


def upgrade() -> None:
    """No row is touched; what was changed before is in `operations` alone."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
