# ruff: noqa: E501 - the statements as PostgreSQL got them
"""Causes: why orders are dead letters, named and counted as they die, beginning with all that are dead."""

from alembic import op

revision = "0014"
down_revision = "0013"

STATEMENTS = [
    """CREATE TABLE causes (
	id BIGINT NOT NULL,
	backend TEXT NOT NULL,
	reason TEXT NOT NULL,
	status SMALLINT,
	message TEXT NOT NULL,
	first_at TIMESTAMP WITH TIME ZONE NOT NULL,
	last_at TIMESTAMP WITH TIME ZONE,
	n BIGINT DEFAULT '0' NOT NULL,
	CONSTRAINT pk_causes PRIMARY KEY (id)
)
 WITH (fillfactor = 70)""",
    """CREATE INDEX ix_causes_backend ON causes (backend, n, id) WHERE n > 0""",
    """CREATE INDEX ix_causes_backend_reason ON causes (backend, reason, n, id) WHERE n > 0""",
    """CREATE INDEX ix_causes_n ON causes (n, id) WHERE n > 0""",
    """CREATE INDEX ix_causes_reason ON causes (reason, n, id) WHERE n > 0""",
    """COMMENT ON TABLE causes IS 'why orders are dead letters; only the leader changes a row, when it sums up'""",
    """COMMENT ON COLUMN causes.id IS 'of the next four: it is stable'""",
    """COMMENT ON COLUMN causes.reason IS 'of the dead letters'""",
    """COMMENT ON COLUMN causes.status IS 'HTTP''s, where there was one'""",
    """COMMENT ON COLUMN causes.message IS 'the error, normalised by relais_cause_message'""",
    """COMMENT ON COLUMN causes.first_at IS 'when an order first died of it'""",
    """COMMENT ON COLUMN causes.last_at IS 'when one last did, as far as summed up'""",
    """COMMENT ON COLUMN causes.n IS 'orders dead of it, as far as summed up'""",
    """CREATE TABLE cause_tallies (
	cause BIGINT NOT NULL,
	n BIGINT NOT NULL,
	last_at TIMESTAMP WITH TIME ZONE
)
 WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0)""",
    """COMMENT ON TABLE cause_tallies IS 'what is not summed up yet of causes; rows are added and summed up, never updated'""",
    """COMMENT ON COLUMN cause_tallies.n IS 'orders that died of it less those that left; to be summed up'""",
    """COMMENT ON COLUMN cause_tallies.last_at IS 'when one died of it; null when some only left'""",
    """CREATE TABLE cause_notes (
	id BIGINT GENERATED ALWAYS AS IDENTITY,
	at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	cause BIGINT NOT NULL,
	operator TEXT NOT NULL,
	words TEXT NOT NULL,
	CONSTRAINT pk_cause_notes PRIMARY KEY (id)
)""",
    """CREATE INDEX ix_cause_notes_cause_id ON cause_notes (cause, id)""",
    """COMMENT ON TABLE cause_notes IS 'what operators tell each other about a cause; append-only'""",
    """ALTER TABLE deliveries ADD COLUMN status SMALLINT""",
    """ALTER TABLE deliveries ADD COLUMN cause BIGINT""",
    """COMMENT ON COLUMN deliveries.status IS 'HTTP''s, that came with the error; null where there was none'""",
    """COMMENT ON COLUMN deliveries.cause IS 'of a dead letter; a trigger sets it'""",
    """CREATE INDEX ix_deliveries_cause ON deliveries (cause, settled_at, order_id) WHERE state = 'dead'""",
    """CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cause_notes FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()""",
    """CREATE FUNCTION relais_cause_message(words text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  part text;
  faults text[] := string_to_array(left(coalesce(words, ''), 4000), ';');
  parts text[] := '{}';
  said text := '';
  quoted CONSTANT text := '"[^"]*"|«[^»]*»|“[^”]*”|`[^`]*`'
    '|(?<![^[:space:][:punct:]])''[^'']*''(?![^[:space:][:punct:]])';
BEGIN
  IF length(words) > 4000 AND cardinality(faults) > 1 THEN
    faults := trim_array(faults, 1);
  END IF;
  FOREACH part IN ARRAY faults LOOP
    IF part COLLATE "C" ~ '[0-9]' THEN
      part := regexp_replace(
        part COLLATE "C",
        '[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[^[:space:][:punct:]]*[0-9][^[:space:][:punct:]]*',
        '#', 'g');
    END IF;
    WHILE part COLLATE "C" ~ quoted LOOP
      part := regexp_replace(part COLLATE "C", quoted, '#', 'g');
    END LOOP;
    part := regexp_replace(part COLLATE "C", '#([-[:space:]#.,:/+_]*#)+', '#', 'g');
    part := btrim(regexp_replace(part COLLATE "C", '[[:space:]]+', ' ', 'g'));
    IF length(part) > 300 THEN
      part := coalesce(substring(left(part, 298) COLLATE "C" FROM '^(.*[^ ]) '), '#') || ' …';
    END IF;
    IF part <> '' AND part <> ALL (parts) THEN
      parts := parts || part;
    END IF;
  END LOOP;
  IF cardinality(parts) = 1 THEN
    RETURN parts[1];
  END IF;
  FOR part IN SELECT each COLLATE "C" FROM unnest(parts) AS each ORDER BY 1 LOOP
    EXIT WHEN said <> '' AND length(said) + length(part) + 2 > 300;
    said := said || CASE said WHEN '' THEN '' ELSE '; ' END || part;
  END LOOP;
  RETURN said;
END $$""",
    r"""CREATE FUNCTION relais_cause_of(backend text, reason text, status smallint, message text)
RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT CAST(CAST('x' || left(encode(sha256(convert_to(concat_ws(E'\x1f', backend, reason,
  coalesce(CAST(status AS text), ''), message), 'UTF8')), 'hex'), 13) AS bit(52)) AS bigint) $$""",
    """CREATE FUNCTION relais_cause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
IF NEW.state <> 'dead' THEN
NEW.cause := NULL;
ELSE
NEW.cause := relais_cause_of(NEW.backend, coalesce(NEW.reason, ''), NEW.status, relais_cause_message(NEW.error));
END IF;
RETURN NEW;
END $$""",
    """CREATE TRIGGER cause_insert BEFORE INSERT ON deliveries FOR EACH ROW WHEN (NEW.state = 'dead') EXECUTE FUNCTION relais_cause()""",
    """CREATE TRIGGER cause BEFORE UPDATE ON deliveries FOR EACH ROW WHEN (NEW.state = 'dead' OR OLD.state = 'dead') EXECUTE FUNCTION relais_cause()""",
    """CREATE FUNCTION relais_causes_born() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
IF EXISTS (SELECT FROM fresh WHERE cause IS NOT NULL) THEN
INSERT INTO causes (id, backend, reason, status, message, first_at)
SELECT DISTINCT ON (cause) cause, backend, coalesce(reason, ''), status, relais_cause_message(error),
  coalesce(settled_at, now())
FROM fresh WHERE cause IS NOT NULL ORDER BY cause, settled_at ON CONFLICT DO NOTHING;
INSERT INTO cause_tallies (cause, n, last_at)
SELECT cause, count(*), max(coalesce(settled_at, now())) FROM fresh WHERE cause IS NOT NULL GROUP BY cause;
END IF;
RETURN NULL;
END $$""",
    """CREATE FUNCTION relais_causes_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
IF EXISTS (SELECT FROM became WHERE cause IS NOT NULL) THEN
INSERT INTO causes (id, backend, reason, status, message, first_at)
SELECT DISTINCT ON (cause) cause, backend, coalesce(reason, ''), status, relais_cause_message(error),
  coalesce(settled_at, now())
FROM became WHERE cause IS NOT NULL ORDER BY cause, settled_at ON CONFLICT DO NOTHING;
ELSIF NOT EXISTS (SELECT FROM was WHERE cause IS NOT NULL) THEN
RETURN NULL;
END IF;
INSERT INTO cause_tallies (cause, n, last_at)
SELECT cause, sum(sign), max(died_at) FROM (
  SELECT cause, 1 AS sign, coalesce(settled_at, now()) AS died_at FROM became WHERE cause IS NOT NULL
  UNION ALL SELECT cause, -1, NULL FROM was WHERE cause IS NOT NULL) both_sides
GROUP BY cause HAVING sum(sign) <> 0;
RETURN NULL;
END $$""",
    """CREATE TRIGGER causes_born AFTER INSERT ON deliveries REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION relais_causes_born()""",
    """CREATE TRIGGER causes_moved AFTER UPDATE ON deliveries REFERENCING OLD TABLE AS was NEW TABLE AS became FOR EACH STATEMENT EXECUTE FUNCTION relais_causes_moved()""",
]

# The triggers do it; the status is that of the last attempt, where the error is of an attempt.
FILL = """UPDATE deliveries d SET status = CASE WHEN reason IN ('refused', 'exhausted') THEN
  (SELECT a.status FROM attempts a WHERE a.order_id = d.order_id ORDER BY a.ended_at DESC LIMIT 1) END
WHERE state = 'dead'"""


def upgrade() -> None:
    """Add them to a journal that may hold orders."""
    for statement in (*STATEMENTS, FILL):
        op.get_bind().exec_driver_sql(statement)
