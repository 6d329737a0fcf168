"""How the journal counts by itself: triggers that add to `tallies`, and the statement that sums it up.

Each fires once a statement, on the rows that it really wrote, and adds a row for each group of them: whoever writes,
by whatever path, is counted in the same transaction. The statements are those of the migration that laid them.
What a call is about is looked up row by row along the primary key: a join would be planned for the first batch that a
session writes, and kept for all later ones.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from orders.states import FINAL, State, listed

SECOND: Final = 1_000_000  # microseconds
CALL_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds
RECEIPT_BOUNDS: Final = (
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    900.0,
    3600.0,
    14400.0,
    43200.0,
    86400.0,
    259200.0,
)


def microseconds(since: str, until: str) -> str:
    """SQL: from one time to another, never less than none; clocks of two machines may disagree."""
    return f"greatest(0, CAST(extract(epoch FROM {until} - {since}) * {SECOND} AS bigint))"


def bound(value: str, bounds: tuple[float, ...]) -> str:
    """SQL: the lowest of `bounds`, in microseconds, that the value does not exceed; null above the last."""
    steps = f"'{{{','.join(str(round(each * SECOND)) for each in bounds)}}}'::bigint[]"
    return f"({steps})[width_bucket({value} - 1, {steps}) + 1]"


BORN: Final = f"""
INSERT INTO tallies (name, label, n)
SELECT 'fate', '{State.ACCEPTED}', count(*) FROM fresh HAVING count(*) > 0
UNION ALL SELECT 'fate', state, count(*) FROM fresh WHERE state IN ({listed(FINAL)}) GROUP BY state"""

# An order that went from one final state to another has left the one and met the other; one that stayed cancels out.
DISPOSITIONS: Final = f"""
INSERT INTO tallies (name, label, n)
SELECT CASE net WHEN 1 THEN 'fate' ELSE 'left' END, state, count(*) FROM (
  SELECT state, sum(sign) AS net FROM (
    SELECT order_id, state, 1 AS sign FROM became WHERE state IN ({listed(FINAL)})
    UNION ALL SELECT order_id, state, -1 FROM was WHERE state IN ({listed(FINAL)})) both_sides
  GROUP BY order_id, state HAVING sum(sign) <> 0) moved
GROUP BY net, state"""

CALLS: Final = f"""
INSERT INTO tallies (name, backend, label, bound, n, total)
SELECT 'call', coalesce(backend, ''), outcome, {bound("took", CALL_BOUNDS)}, count(*), sum(took) FROM (
  SELECT outcome, {microseconds("started_at", "ended_at")} AS took,
    (SELECT backend FROM deliveries d WHERE d.order_id = f.order_id) AS backend FROM fresh f) calls
GROUP BY 2, 3, 4"""

RECEIPTS: Final = f"""
INSERT INTO tallies (name, backend, label, bound, n, total)
SELECT 'receipt', backend, label, {bound("took", RECEIPT_BOUNDS)}, count(*), sum(took) FROM (
  SELECT backend, CASE WHEN key_id IS NULL THEN 'unverified' ELSE 'verified' END AS label,
    coalesce({microseconds("(SELECT accepted_at FROM deliveries d WHERE d.order_id = f.order_id)", "received_at")}, 0)
      AS took FROM fresh f) answers
GROUP BY 2, 3, 4"""

EVIDENCE: Final = """
INSERT INTO tallies (name, backend, label, n)
SELECT 'evidence', backend, kind, count(*) FROM fresh GROUP BY backend, kind"""

COUNTED: Final = {
    "born": ("INSERT ON deliveries REFERENCING NEW TABLE AS fresh", BORN),
    "fates": ("UPDATE ON deliveries REFERENCING OLD TABLE AS was NEW TABLE AS became", DISPOSITIONS),
    "calls": ("INSERT ON attempts REFERENCING NEW TABLE AS fresh", CALLS),
    "receipts": ("INSERT ON receipts REFERENCING NEW TABLE AS fresh", RECEIPTS),
    "evidence": ("INSERT ON evidence REFERENCING NEW TABLE AS fresh", EVIDENCE),
}


def counting() -> list[str]:
    """DDL: a function and a trigger for each thing that is counted."""
    statements = []
    for name, (what, statement) in COUNTED.items():
        path = " SET enable_seqscan = off" if "FROM deliveries d" in statement else ""  # by the index, always
        statements.append(
            f"CREATE FUNCTION relais_tally_{name}() RETURNS trigger LANGUAGE plpgsql{path} AS $$\n"
            f"BEGIN{statement};\nRETURN NULL;\nEND $$"
        )
        statements.append(
            f"CREATE TRIGGER tally_{name} AFTER {what} FOR EACH STATEMENT EXECUTE FUNCTION relais_tally_{name}()"
        )
    return statements


# One statement: whoever reads meanwhile sees all of the old rows or all of the new. What is written meanwhile stays.
SUM_UP: Final = text("""
WITH gone AS (DELETE FROM tallies RETURNING *)
INSERT INTO tallies (name, backend, label, bound, n, total)
SELECT name, backend, label, bound, sum(n), sum(total) FROM gone GROUP BY name, backend, label, bound
""")
