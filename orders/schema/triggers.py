"""What the database enforces and writes by itself, whoever asks: append-only tables, transitions, events, notices.

The statements are those of the newest migration that touched each; a test compares them with the database.
"""

from __future__ import annotations

from typing import Final

from orders.journal.connection import DURABLE
from orders.schema.tables.acts import acts
from orders.schema.tables.causes import cause_notes, cause_tallies, causes
from orders.schema.tables.clients import asides
from orders.schema.tables.console import accounts, console_logins, console_secrets, console_sessions
from orders.schema.tables.core import attempts, events, operations, orders, receipts
from orders.schema.tables.erps import mappings, outages
from orders.schema.tables.products import order_products, products_known
from orders.schema.tables.proof import seals
from orders.schema.tables.reconcile import findings
from orders.schema.tables.replays import replays
from orders.schema.tables.samples import samples
from orders.schema.tables.tallies import tallies
from orders.schema.tables.trust import changes, evidence
from orders.schema.tables.workers import processes, workers
from orders.states import TRANSITIONS, AsideKind, Reason, State, listed

APPEND_ONLY: Final = (
    orders,
    attempts,
    receipts,
    operations,
    events,
    asides,
    seals,
    findings,
    evidence,
    cause_notes,
    changes,
    mappings,
)
# What changes as it may, named here so that the metadata is whole.
AT_WILL: Final = (
    replays,
    outages,
    tallies,
    workers,
    processes,
    accounts,
    console_sessions,
    console_logins,
    console_secrets,
    samples,
    acts,
    order_products,
    products_known,
    causes,
    cause_tallies,
)
# Whose loss in a crash is made good by itself: their writers need not wait for the disk.
RELAXED: Final = (tallies, cause_tallies, workers, samples, order_products, products_known)
EVENT_CHANNEL: Final = "relais_event"
NOTICE_CHANNEL: Final = "relais_notice"

TOLD: Final = (State.SUBMITTED, State.DELIVERED, State.DEAD, State.CANCELLED, State.DISCARDED)
LEFT: Final = (State.DEAD, State.DELIVERED)
NOTICED: Final = (State.DELIVERED, State.DEAD, State.CANCELLED)


def allowed_transitions() -> str:
    """The condition, over OLD and NEW, under which a delivery may change its state."""
    pairs = ", ".join(f"('{old}', '{new}')" for old, new in sorted(TRANSITIONS))
    return f"(OLD.state, NEW.state) IN ({pairs})"


def forbid_change(table: str) -> str:
    """DDL that makes a table append-only: UPDATE, DELETE and TRUNCATE raise, whoever asks; what may be dropped of what
    was set aside, `DROPPED_ONLY` says.
    """
    acts = "UPDATE OR TRUNCATE" if table == asides.name else "UPDATE OR DELETE OR TRUNCATE"
    return (
        f"CREATE TRIGGER append_only BEFORE {acts} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION relais_append_only()"
    )


DROPPED_ONLY: Final = (
    f"CREATE TRIGGER kept BEFORE DELETE ON asides FOR EACH ROW WHEN (OLD.kind <> '{AsideKind.FORGED}') "
    "EXECUTE FUNCTION relais_append_only()"
)


# It holds the setting for the transaction, whatever the server's configuration, read again, says before the commit.
DURABLE_FUNCTION: Final = f"""CREATE FUNCTION relais_durable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
PERFORM {DURABLE};
RETURN NULL;
END $$"""


def wait_for_disk(table: str) -> str:
    """DDL by which whatever is written to a table is on disk once it is committed, whoever writes."""
    return (
        f"CREATE TRIGGER durable BEFORE INSERT OR UPDATE OR DELETE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION relais_durable()"
    )


TRANSITION: Final = (
    "CREATE TRIGGER transition BEFORE UPDATE OF state ON deliveries FOR EACH ROW "
    f"WHEN (OLD.state <> NEW.state AND (NOT ({allowed_transitions()}) "
    f"OR (OLD.reason = '{Reason.CONFLICT}' AND NEW.state = '{State.ACCEPTED}'))) EXECUTE FUNCTION relais_transition()"
)

# A replayed dead letter and a delivered order that is sent again are told as `accepted`; of other returns to
# `accepted` only the attempts tell. What came out of the spill is told where it is final as it is journalled. Once a
# statement: of a batch, each row by itself would cost half of its settling. Without nested loops, since their plan
# would be that of the first batch that a session writes, and without a scan of all orders instead.
EVENT_FUNCTION: Final = f"""CREATE FUNCTION relais_event() RETURNS trigger LANGUAGE plpgsql
SET enable_nestloop = off SET enable_seqscan = off AS $$
DECLARE told uuid[];
BEGIN
IF TG_OP = 'INSERT' THEN
told := ARRAY(SELECT order_id FROM became WHERE state IN ({listed((State.DEAD, State.CANCELLED))}));
ELSIF EXISTS (SELECT FROM became WHERE state IN ({listed(TOLD)}))
  OR EXISTS (SELECT FROM was WHERE state IN ({listed(LEFT)})) THEN
told := ARRAY(SELECT order_id FROM became b JOIN was w USING (order_id)
  WHERE w.state <> b.state AND (b.state IN ({listed(TOLD)}) OR w.state IN ({listed(LEFT)})));
END IF;
IF cardinality(told) > 0 THEN
WITH event AS (
INSERT INTO events (order_id, state, reason, error)
SELECT order_id, state, reason, error FROM became JOIN unnest(told) AS t (order_id) USING (order_id)
RETURNING id, order_id, state)
INSERT INTO notices (id, event_id, order_id, client)
SELECT gen_random_uuid(), e.id, e.order_id, w.client FROM (
  SELECT id, order_id, (SELECT client FROM orders o WHERE o.id = event.order_id) AS client FROM event
  WHERE state IN ({listed(NOTICED)}) AND EXISTS (SELECT FROM webhooks)) e
JOIN webhooks w ON w.client = e.client;
IF FOUND THEN PERFORM pg_notify('{NOTICE_CHANNEL}', ''); END IF;
PERFORM pg_notify('{EVENT_CHANNEL}', '');
END IF;
RETURN NULL;
END $$"""

EVENT: Final = (
    "CREATE TRIGGER event AFTER UPDATE ON deliveries REFERENCING OLD TABLE AS was NEW TABLE AS became "
    "FOR EACH STATEMENT EXECUTE FUNCTION relais_event()"
)
EVENT_BORN: Final = (
    "CREATE TRIGGER event_born AFTER INSERT ON deliveries REFERENCING NEW TABLE AS became "
    "FOR EACH STATEMENT EXECUTE FUNCTION relais_event()"
)
