"""How the journal keeps causes by itself: a dead letter is given its cause as it dies, and counted where it stands.

Whoever writes, by whatever path: a row trigger names the cause of whatever is dead and takes it from whatever is
not; a statement's trigger adds a cause that is new and the change in numbers, in the same transaction. Causes are
added in the order of their ids, so that two batches that die of the same new ones cannot wait for each other in a
circle. The statements are those of the migration that laid them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from orders.states import State

FUNCTIONS: Final = ("relais_cause_message(text)", "relais_cause_of(text, text, smallint, text)")
MOST_WORDS: Final = 300  # characters of a cause's message

# What differs from order to order becomes #: identifiers, whatever has a digit in it, quoted values. The parts of a
# message (a fault each) are told once each and in one order. A second time it changes nothing. Letters beyond ASCII
# are letters whatever the locale: a word is what is neither space nor punctuation.
MESSAGE: Final = f"""CREATE FUNCTION relais_cause_message(words text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  part text;
  faults text[] := string_to_array(left(coalesce(words, ''), 4000), ';');
  parts text[] := '{{}}';
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
        '[0-9a-fA-F]{{8}}(-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}}|[^[:space:][:punct:]]*[0-9][^[:space:][:punct:]]*',
        '#', 'g');
    END IF;
    WHILE part COLLATE "C" ~ quoted LOOP
      part := regexp_replace(part COLLATE "C", quoted, '#', 'g');
    END LOOP;
    part := regexp_replace(part COLLATE "C", '#([-[:space:]#.,:/+_]*#)+', '#', 'g');
    part := btrim(regexp_replace(part COLLATE "C", '[[:space:]]+', ' ', 'g'));
    IF length(part) > {MOST_WORDS} THEN
      part := coalesce(substring(left(part, {MOST_WORDS - 2}) COLLATE "C" FROM '^(.*[^ ]) '), '#') || ' …';
    END IF;
    IF part <> '' AND part <> ALL (parts) THEN
      parts := parts || part;
    END IF;
  END LOOP;
  IF cardinality(parts) = 1 THEN
    RETURN parts[1];
  END IF;
  FOR part IN SELECT each COLLATE "C" FROM unnest(parts) AS each ORDER BY 1 LOOP
    EXIT WHEN said <> '' AND length(said) + length(part) + 2 > {MOST_WORDS};
    said := said || CASE said WHEN '' THEN '' ELSE '; ' END || part;
  END LOOP;
  RETURN said;
END $$"""

# 52 bits, which every JSON reader takes for the number that it is; the same in every journal.
OF: Final = r"""CREATE FUNCTION relais_cause_of(backend text, reason text, status smallint, message text)
RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT CAST(CAST('x' || left(encode(sha256(convert_to(concat_ws(E'\x1f', backend, reason,
  coalesce(CAST(status AS text), ''), message), 'UTF8')), 'hex'), 13) AS bit(52)) AS bigint) $$"""

NAME: Final = f"""CREATE FUNCTION relais_cause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
IF NEW.state <> '{State.DEAD}' THEN
NEW.cause := NULL;
ELSE
NEW.cause := relais_cause_of(NEW.backend, coalesce(NEW.reason, ''), NEW.status, relais_cause_message(NEW.error));
END IF;
RETURN NEW;
END $$"""

NAMED: Final = (
    f"CREATE TRIGGER cause_insert BEFORE INSERT ON deliveries FOR EACH ROW WHEN (NEW.state = '{State.DEAD}') "
    "EXECUTE FUNCTION relais_cause()",
    "CREATE TRIGGER cause BEFORE UPDATE ON deliveries FOR EACH ROW "
    f"WHEN (NEW.state = '{State.DEAD}' OR OLD.state = '{State.DEAD}') EXECUTE FUNCTION relais_cause()",
)

_ADD: Final = """INSERT INTO causes (id, backend, reason, status, message, first_at)
SELECT DISTINCT ON (cause) cause, backend, coalesce(reason, ''), status, relais_cause_message(error),
  coalesce(settled_at, now())
FROM {rows} WHERE cause IS NOT NULL ORDER BY cause, settled_at ON CONFLICT DO NOTHING"""

BORN: Final = f"""CREATE FUNCTION relais_causes_born() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
IF EXISTS (SELECT FROM fresh WHERE cause IS NOT NULL) THEN
{_ADD.format(rows="fresh")};
INSERT INTO cause_tallies (cause, n, last_at)
SELECT cause, count(*), max(coalesce(settled_at, now())) FROM fresh WHERE cause IS NOT NULL GROUP BY cause;
END IF;
RETURN NULL;
END $$"""

# An order that stayed dead of the same cause cancels out.
MOVED: Final = f"""CREATE FUNCTION relais_causes_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
IF EXISTS (SELECT FROM became WHERE cause IS NOT NULL) THEN
{_ADD.format(rows="became")};
ELSIF NOT EXISTS (SELECT FROM was WHERE cause IS NOT NULL) THEN
RETURN NULL;
END IF;
INSERT INTO cause_tallies (cause, n, last_at)
SELECT cause, sum(sign), max(died_at) FROM (
  SELECT cause, 1 AS sign, coalesce(settled_at, now()) AS died_at FROM became WHERE cause IS NOT NULL
  UNION ALL SELECT cause, -1, NULL FROM was WHERE cause IS NOT NULL) both_sides
GROUP BY cause HAVING sum(sign) <> 0;
RETURN NULL;
END $$"""

COUNTED: Final = (
    "CREATE TRIGGER causes_born AFTER INSERT ON deliveries REFERENCING NEW TABLE AS fresh "
    "FOR EACH STATEMENT EXECUTE FUNCTION relais_causes_born()",
    "CREATE TRIGGER causes_moved AFTER UPDATE ON deliveries REFERENCING OLD TABLE AS was NEW TABLE AS became "
    "FOR EACH STATEMENT EXECUTE FUNCTION relais_causes_moved()",
)


def keeping() -> list[str]:
    """DDL: the functions and triggers that keep causes."""
    return [MESSAGE, OF, NAME, *NAMED, BORN, MOVED, *COUNTED]


# One statement: whoever reads meanwhile sees all of the old or all of the new. What is written meanwhile stays.
SUM_UP: Final = text("""
WITH gone AS (DELETE FROM cause_tallies RETURNING *),
moved AS (SELECT cause, sum(n) AS n, max(last_at) AS last_at FROM gone GROUP BY cause)
UPDATE causes c SET n = c.n + m.n, last_at = greatest(c.last_at, m.last_at) FROM moved m WHERE c.id = m.cause
""")
