"""What processes do through functions that record it, and what triggers write that no process may."""

from alembic import op

revision = "0032"
down_revision = "0031"

STATEMENTS = [
    "ALTER FUNCTION relais_event() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp",
    "ALTER FUNCTION relais_causes_born() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp",
    "ALTER FUNCTION relais_causes_moved() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp",
    "ALTER FUNCTION relais_tally_born() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp",
    "ALTER FUNCTION relais_tally_fates() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp",
    "ALTER FUNCTION relais_tally_calls() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp",
    "ALTER FUNCTION relais_tally_receipts() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp",
    "ALTER FUNCTION relais_tally_evidence() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp",
    """CREATE FUNCTION relais_quarantine(backend text, by text, why jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
UPDATE backends SET quarantined = true, quarantined_at = clock_timestamp(), quarantined_by = $2, held_why = $3
WHERE name = $1 $$""",
    """CREATE FUNCTION relais_release(backend text, operator text, reason text, detail jsonb)
RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
WITH released AS (
UPDATE backends SET quarantined = false, quarantined_at = NULL, quarantined_by = NULL, held_why = NULL,
  circuit = 'open', "window" = 1, trips = 0, changed_at = clock_timestamp(),
  probe_at = clock_timestamp(), why = '{"code": "released"}'
WHERE name = $1 AND quarantined RETURNING name)
INSERT INTO operations (operator, act, reason, detail) SELECT $2, 'release', $3, $4 FROM released RETURNING id $$""",
    """CREATE FUNCTION relais_cancel(chosen uuid, client text, request text)
RETURNS TABLE (request_id text) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
WITH done AS (
UPDATE deliveries SET state = 'cancelled', settled_at = now(), lease_until = NULL, reason = NULL
WHERE order_id = $1 AND state IN ('accepted', 'dispatched', 'dead') AND NOT unsure RETURNING order_id),
told AS (
INSERT INTO operations (operator, act, detail)
SELECT 'client ' || $2, 'order cancel', jsonb_build_object('order', order_id, 'request', $3) FROM done)
SELECT o.request_id FROM done JOIN orders o ON o.id = done.order_id $$""",
    "REVOKE EXECUTE ON FUNCTION relais_cancel(uuid, text, text) FROM PUBLIC",
    "REVOKE EXECUTE ON FUNCTION relais_quarantine(text, text, jsonb) FROM PUBLIC",
    "REVOKE EXECUTE ON FUNCTION relais_release(text, text, text, jsonb) FROM PUBLIC",
    """CREATE FUNCTION relais_forwarding() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
RAISE EXCEPTION 'only a worker says that an order is %', NEW.state USING ERRCODE = 'insufficient_privilege';
END $$""",
    """CREATE TRIGGER forwarding BEFORE INSERT OR UPDATE OF state ON deliveries FOR EACH ROW
WHEN (NEW.state IN ('dispatched', 'delivering', 'submitted', 'delivered')
  AND NOT has_any_column_privilege(CAST('receipts' AS regclass), 'INSERT'))
EXECUTE FUNCTION relais_forwarding()""",
    """CREATE FUNCTION relais_recorded() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
IF NOT pg_has_role(session_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')
  AND NOT EXISTS (SELECT FROM operations WHERE tx = relais_tx()) THEN
RAISE EXCEPTION 'a change of % that no act records', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END IF;
RETURN NULL;
END $$""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR UPDATE ON accounts
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION relais_recorded()""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR UPDATE ON clients
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION relais_recorded()""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR UPDATE OF hash, client, scopes, expires_at ON keys
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION relais_recorded()""",
    """CREATE CONSTRAINT TRIGGER recorded AFTER INSERT OR UPDATE ON receipt_keys
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION relais_recorded()""",
]


def upgrade() -> None:
    """No row is touched."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
