"""What a process does through a function of the journal, since it has no right to do it otherwise.

Such a function runs as the tables' owner. Only the worker, which writes receipts, may say that an order is with the
ERP, and nobody lifts a quarantine but by the function that records it. What else a process must record is in
`orders.schema.recording`. The statements are those of the migration that laid them.
"""

from __future__ import annotations

import json
from typing import Final

from orders.schema.recording import PATH
from orders.schema.tally_triggers import COUNTED
from orders.sentences import Code, Sentence
from orders.states import CERTAINLY_OURS, TAKEN_BACK, CircuitState, State, listed

FORWARDED: Final = (State.DISPATCHED, State.DELIVERING, State.SUBMITTED, State.DELIVERED)
CANCELLED: Final = "order cancel"  # the act's name in `operations`

# Triggers that write into tables which no process may write to.
AS_OWNER: Final = tuple(
    f"ALTER FUNCTION relais_{name}() {PATH}"
    for name in ("event", "causes_born", "causes_moved", *(f"tally_{each}" for each in COUNTED))
)

QUARANTINE: Final = f"""CREATE FUNCTION relais_quarantine(backend text, by text, why jsonb) RETURNS void
LANGUAGE sql {PATH} AS $$
UPDATE backends SET quarantined = true, quarantined_at = clock_timestamp(), quarantined_by = $2, held_why = $3
WHERE name = $1 $$"""

RELEASE: Final = f"""CREATE FUNCTION relais_release(backend text, operator text, reason text, detail jsonb)
RETURNS bigint LANGUAGE sql {PATH} AS $$
WITH released AS (
UPDATE backends SET quarantined = false, quarantined_at = NULL, quarantined_by = NULL, held_why = NULL,
  circuit = '{CircuitState.OPEN}', "window" = 1, trips = 0, changed_at = clock_timestamp(),
  probe_at = clock_timestamp(), why = '{json.dumps(Sentence(Code.RELEASED).stored())}'
WHERE name = $1 AND quarantined RETURNING name)
INSERT INTO operations (operator, act, reason, detail)
SELECT $2, 'release', $3, $4 || jsonb_build_object('backend', name) FROM released RETURNING id $$"""

CANCEL: Final = f"""CREATE FUNCTION relais_cancel(chosen uuid, client text, request text)
RETURNS TABLE (request_id text) LANGUAGE sql {PATH} AS $$
WITH done AS (
UPDATE deliveries SET {TAKEN_BACK}
WHERE order_id = $1 AND {CERTAINLY_OURS} RETURNING order_id),
told AS (
INSERT INTO operations (operator, act, detail)
SELECT 'client ' || $2, '{CANCELLED}', jsonb_build_object('order', order_id, 'request', $3) FROM done)
SELECT o.request_id FROM done JOIN orders o ON o.id = done.order_id $$"""

FORWARDING: Final = (
    """CREATE FUNCTION relais_forwarding() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
RAISE EXCEPTION 'only a worker says that an order is %', NEW.state USING ERRCODE = 'insufficient_privilege';
END $$""",
    f"""CREATE TRIGGER forwarding BEFORE INSERT OR UPDATE OF state ON deliveries FOR EACH ROW
WHEN (NEW.state IN ({listed(FORWARDED)})
  AND NOT has_any_column_privilege(CAST('receipts' AS regclass), 'INSERT'))
EXECUTE FUNCTION relais_forwarding()""",
)

# Who may call what; of the functions of `orders.schema.epochs` and of causes everybody may.
CALLS: Final = {
    "relais_cancel(uuid, text, text)": ("api",),
    "relais_quarantine(text, text, jsonb)": ("worker", "console", "ops"),
    "relais_release(text, text, text, jsonb)": ("console", "ops"),
}


def laying() -> list[str]:
    """DDL: the functions and triggers of this module."""
    shut = (f"REVOKE EXECUTE ON FUNCTION {call} FROM PUBLIC" for call in CALLS)  # which PostgreSQL itself opens to all
    return [*AS_OWNER, QUARANTINE, RELEASE, CANCEL, *shut, *FORWARDING]
