# ruff: noqa: E501 - the statements as PostgreSQL got them
"""Tallies: what happened, counted where it is written, beginning with all that was written before."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = [
    """CREATE TABLE tallies (
    name TEXT NOT NULL,
    backend TEXT DEFAULT '' NOT NULL,
    label TEXT NOT NULL,
    bound BIGINT,
    n BIGINT NOT NULL,
    total BIGINT DEFAULT '0' NOT NULL
)
 WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0)""",
    """COMMENT ON TABLE tallies IS 'what happened, counted; rows are added and summed up, never updated'""",
    """COMMENT ON COLUMN tallies.name IS 'fate, left, call, receipt or evidence'""",
    """COMMENT ON COLUMN tallies.backend IS 'empty for fate and left'""",
    """COMMENT ON COLUMN tallies.label IS 'state, outcome, verified or unverified, kind of evidence'""",
    """COMMENT ON COLUMN tallies.bound IS 'microseconds that none of them exceeds; null above the last bound'""",
    """COMMENT ON COLUMN tallies.n IS 'to be summed up over all rows'""",
    """COMMENT ON COLUMN tallies.total IS 'microseconds, of all of them'""",
    """CREATE FUNCTION relais_tally_born() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
INSERT INTO tallies (name, label, n)
SELECT 'fate', 'accepted', count(*) FROM fresh HAVING count(*) > 0
UNION ALL SELECT 'fate', state, count(*) FROM fresh WHERE state IN ('delivered', 'dead', 'cancelled', 'discarded') GROUP BY state;
RETURN NULL;
END $$""",
    """CREATE TRIGGER tally_born AFTER INSERT ON deliveries REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION relais_tally_born()""",
    """CREATE FUNCTION relais_tally_fates() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
INSERT INTO tallies (name, label, n)
SELECT CASE net WHEN 1 THEN 'fate' ELSE 'left' END, state, count(*) FROM (
  SELECT state, sum(sign) AS net FROM (
    SELECT order_id, state, 1 AS sign FROM became WHERE state IN ('delivered', 'dead', 'cancelled', 'discarded')
    UNION ALL SELECT order_id, state, -1 FROM was WHERE state IN ('delivered', 'dead', 'cancelled', 'discarded')) both_sides
  GROUP BY order_id, state HAVING sum(sign) <> 0) moved
GROUP BY net, state;
RETURN NULL;
END $$""",
    """CREATE TRIGGER tally_fates AFTER UPDATE ON deliveries REFERENCING OLD TABLE AS was NEW TABLE AS became FOR EACH STATEMENT EXECUTE FUNCTION relais_tally_fates()""",
    """CREATE FUNCTION relais_tally_calls() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
INSERT INTO tallies (name, backend, label, bound, n, total)
SELECT 'call', coalesce(backend, ''), outcome, ('{10000,25000,50000,100000,250000,500000,1000000,2500000,5000000,10000000,30000000,60000000}'::bigint[])[width_bucket(took - 1, '{10000,25000,50000,100000,250000,500000,1000000,2500000,5000000,10000000,30000000,60000000}'::bigint[]) + 1], count(*), sum(took) FROM (
  SELECT outcome, greatest(0, CAST(extract(epoch FROM ended_at - started_at) * 1000000 AS bigint)) AS took,
    (SELECT backend FROM deliveries d WHERE d.order_id = f.order_id) AS backend FROM fresh f) calls
GROUP BY 2, 3, 4;
RETURN NULL;
END $$""",
    """CREATE TRIGGER tally_calls AFTER INSERT ON attempts REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION relais_tally_calls()""",
    """CREATE FUNCTION relais_tally_receipts() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
INSERT INTO tallies (name, backend, label, bound, n, total)
SELECT 'receipt', backend, label, ('{100000,250000,500000,1000000,2500000,5000000,10000000,30000000,60000000,300000000,900000000,3600000000,14400000000,43200000000,86400000000,259200000000}'::bigint[])[width_bucket(took - 1, '{100000,250000,500000,1000000,2500000,5000000,10000000,30000000,60000000,300000000,900000000,3600000000,14400000000,43200000000,86400000000,259200000000}'::bigint[]) + 1], count(*), sum(took) FROM (
  SELECT backend, CASE WHEN key_id IS NULL THEN 'unverified' ELSE 'verified' END AS label,
    coalesce(greatest(0, CAST(extract(epoch FROM received_at - (SELECT accepted_at FROM deliveries d WHERE d.order_id = f.order_id)) * 1000000 AS bigint)), 0)
      AS took FROM fresh f) answers
GROUP BY 2, 3, 4;
RETURN NULL;
END $$""",
    """CREATE TRIGGER tally_receipts AFTER INSERT ON receipts REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION relais_tally_receipts()""",
    """CREATE FUNCTION relais_tally_evidence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
INSERT INTO tallies (name, backend, label, n)
SELECT 'evidence', backend, kind, count(*) FROM fresh GROUP BY backend, kind;
RETURN NULL;
END $$""",
    """CREATE TRIGGER tally_evidence AFTER INSERT ON evidence REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION relais_tally_evidence()""",
]

# The triggers' locks keep writers out until this is committed, so nothing is counted twice or missed.
FILL = [
    """INSERT INTO tallies (name, label, n) SELECT 'fate', 'accepted', count(*) FROM deliveries""",
    """WITH entered AS (
  SELECT state, count(*) AS n FROM events WHERE state IN ('delivered', 'dead', 'cancelled', 'discarded') GROUP BY state
), standing AS (
  SELECT state, count(*) AS n FROM deliveries WHERE state IN ('delivered', 'dead', 'cancelled', 'discarded') GROUP BY state
), both_sides AS (
  SELECT state, greatest(coalesce(e.n, 0), coalesce(s.n, 0)) AS entered, coalesce(s.n, 0) AS standing
  FROM entered e FULL JOIN standing s USING (state)
)
INSERT INTO tallies (name, label, n)
SELECT 'fate', state, entered FROM both_sides
UNION ALL SELECT 'left', state, entered - standing FROM both_sides WHERE entered > standing""",
    """INSERT INTO tallies (name, backend, label, bound, n, total)
SELECT 'call', coalesce(backend, ''), outcome, ('{10000,25000,50000,100000,250000,500000,1000000,2500000,5000000,10000000,30000000,60000000}'::bigint[])[width_bucket(took - 1, '{10000,25000,50000,100000,250000,500000,1000000,2500000,5000000,10000000,30000000,60000000}'::bigint[]) + 1], count(*), sum(took) FROM (
  SELECT outcome, greatest(0, CAST(extract(epoch FROM ended_at - started_at) * 1000000 AS bigint)) AS took,
    (SELECT backend FROM deliveries d WHERE d.order_id = f.order_id) AS backend FROM attempts f) calls
GROUP BY 2, 3, 4""",
    """INSERT INTO tallies (name, backend, label, bound, n, total)
SELECT 'receipt', backend, label, ('{100000,250000,500000,1000000,2500000,5000000,10000000,30000000,60000000,300000000,900000000,3600000000,14400000000,43200000000,86400000000,259200000000}'::bigint[])[width_bucket(took - 1, '{100000,250000,500000,1000000,2500000,5000000,10000000,30000000,60000000,300000000,900000000,3600000000,14400000000,43200000000,86400000000,259200000000}'::bigint[]) + 1], count(*), sum(took) FROM (
  SELECT backend, CASE WHEN key_id IS NULL THEN 'unverified' ELSE 'verified' END AS label,
    coalesce(greatest(0, CAST(extract(epoch FROM received_at - (SELECT accepted_at FROM deliveries d WHERE d.order_id = f.order_id)) * 1000000 AS bigint)), 0)
      AS took FROM receipts f) answers
GROUP BY 2, 3, 4""",
    """INSERT INTO tallies (name, backend, label, n)
SELECT 'evidence', backend, kind, count(*) FROM evidence GROUP BY backend, kind""",
]


def upgrade() -> None:
    """Add it to a journal that may hold orders."""
    for statement in (*STATEMENTS, *FILL):
        op.get_bind().exec_driver_sql(statement)
