# ruff: noqa: E501 - the statements as PostgreSQL got them
"""Events are written once a statement, for all the rows that it changed."""

from alembic import op

revision = "0036"
down_revision = "0035"

STATEMENTS = [
    "DROP TRIGGER event ON deliveries",
    "DROP TRIGGER event_born ON deliveries",
    "DROP FUNCTION relais_event()",
    """CREATE FUNCTION relais_event() RETURNS trigger LANGUAGE plpgsql
SET enable_nestloop = off SET enable_seqscan = off AS $$
DECLARE told uuid[];
BEGIN
IF TG_OP = 'INSERT' THEN
told := ARRAY(SELECT order_id FROM became WHERE state IN ('dead', 'cancelled'));
ELSIF EXISTS (SELECT FROM became WHERE state IN ('submitted', 'delivered', 'dead', 'cancelled', 'discarded'))
  OR EXISTS (SELECT FROM was WHERE state IN ('dead', 'delivered')) THEN
told := ARRAY(SELECT order_id FROM became b JOIN was w USING (order_id)
  WHERE w.state <> b.state AND (b.state IN ('submitted', 'delivered', 'dead', 'cancelled', 'discarded') OR w.state IN ('dead', 'delivered')));
END IF;
IF cardinality(told) > 0 THEN
WITH event AS (
INSERT INTO events (order_id, state, reason, error)
SELECT order_id, state, reason, error FROM became JOIN unnest(told) AS t (order_id) USING (order_id)
RETURNING id, order_id, state)
INSERT INTO notices (id, event_id, order_id, client)
SELECT gen_random_uuid(), e.id, e.order_id, w.client FROM (
  SELECT id, order_id, (SELECT client FROM orders o WHERE o.id = event.order_id) AS client FROM event
  WHERE state IN ('delivered', 'dead', 'cancelled') AND EXISTS (SELECT FROM webhooks)) e
JOIN webhooks w ON w.client = e.client;
IF FOUND THEN PERFORM pg_notify('relais_notice', ''); END IF;
PERFORM pg_notify('relais_event', '');
END IF;
RETURN NULL;
END $$""",
    "ALTER FUNCTION relais_event() SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp",
    "CREATE TRIGGER event AFTER UPDATE ON deliveries REFERENCING OLD TABLE AS was NEW TABLE AS became "
    "FOR EACH STATEMENT EXECUTE FUNCTION relais_event()",
    "CREATE TRIGGER event_born AFTER INSERT ON deliveries REFERENCING NEW TABLE AS became "
    "FOR EACH STATEMENT EXECUTE FUNCTION relais_event()",
]


def upgrade() -> None:
    """No row is touched."""
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
