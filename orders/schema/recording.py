"""What is changed by whoever is neither the tables' owner nor, where the worker does the same by itself, a worker, has
an act of `operations` in its transaction that names it, or it does not commit.

A row of a table that people change asks for its act by itself. Orders are many: a statement that changes some of them
leaves one row in `changes`, which lists them and asks for the act. When the transaction commits it is looked at, so
that an act may be written before or after what it is about. The statements are those of the migration that laid them;
for the worker and the intake none of them does more than to ask PostgreSQL once a statement who they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final, NamedTuple

from orders.states import State

PATH: Final = "SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"
# Who may write receipts is a worker, or may do all that each of them may. A function of the owner's asks for itself.
SESSION: Final = "NOT has_any_column_privilege(SESSION_USER, CAST('receipts' AS regclass), 'INSERT')"
CURRENT: Final = "NOT has_any_column_privilege(CAST('receipts' AS regclass), 'INSERT')"
INTAKE: Final = "has_any_column_privilege(CAST('pharmaml_acknowledged' AS regclass), 'INSERT')"


class Recorded(NamedTuple):
    """What a trigger watches; the acts that may be there, as a regular expression; and which columns these name as
    what.
    """

    event: str
    acts: str
    names: Mapping[str, str]
    when: str | None = None

    @property
    def table(self) -> str:
        """That it is on."""
        return self.event.split(" ON ")[1]


_BACKEND: Final = {"name": "backend"}
_REPLAY: Final = {"id": "replay", "backend": "backend"}
_CLIENT: Final = {"client": "client"}

RECORDED: Final = (
    Recorded("recorded AFTER INSERT OR UPDATE ON accounts", "^account ", {"name": "account"}),
    Recorded("recorded AFTER INSERT OR UPDATE ON clients", "^client ", {"name": "client"}),
    Recorded("recorded AFTER INSERT OR UPDATE OF hash, client, scopes, expires_at ON keys", "^client ", _CLIENT),
    Recorded("recorded AFTER INSERT ON receipt_keys", "^key ", {"backend": "backend", "key_id": "key"}),
    # One that is new ends the others.
    Recorded("recorded_change AFTER UPDATE ON receipt_keys", "^key ", {"backend": "backend"}),
    Recorded("recorded AFTER INSERT OR DELETE OR UPDATE ON webhooks", "^webhook ", _CLIENT, SESSION),
    Recorded("recorded AFTER INSERT OR UPDATE ON replays", "^replay( |$)", _REPLAY, SESSION),
    Recorded(
        "recorded AFTER INSERT ON reconciliations",
        "^reconcile$",
        {"id": "reconciliation", "backend": "backend"},
        SESSION,
    ),
    Recorded("recorded_pause AFTER UPDATE OF paused ON backends", "^pause$", _BACKEND, f"NEW.paused AND {SESSION}"),
    Recorded(
        "recorded_resume AFTER UPDATE OF paused ON backends",
        "^resume$",
        _BACKEND,
        f"OLD.paused AND NOT NEW.paused AND {SESSION}",
    ),
    Recorded(
        "recorded_quarantine AFTER UPDATE OF quarantined ON backends",
        "^quarantine$",
        _BACKEND,
        f"NEW.quarantined AND {SESSION}",
    ),
    Recorded(
        "recorded_why AFTER UPDATE OF held_why ON backends",
        "^(pause|resume|quarantine|release)$",
        _BACKEND,
        f"OLD.held_why IS DISTINCT FROM NEW.held_why AND {SESSION}",
    ),
    Recorded("recorded_rate AFTER UPDATE OF rate ON backends", "^rate$", _BACKEND, SESSION),
    # Dead letters that are put through again let the canaries of all backends go.
    Recorded('recorded_pace AFTER UPDATE OF "window", credit, probe_at ON backends', "^(replay|release)$", {}, SESSION),
)
# What one row of `changes` asks for where it is of no row of its own: what a statement does, and the act.
ASKED: Final = {
    f"readmitted AFTER INSERT ON deliveries FOR EACH STATEMENT WHEN ({CURRENT} AND NOT {INTAKE})": "spill readmit",
    f"hurried AFTER UPDATE ON notices FOR EACH STATEMENT WHEN ({CURRENT})": "webhook enable",
    f"dropped AFTER DELETE ON asides FOR EACH STATEMENT WHEN ({CURRENT})": "spill drop",
    f"mapped AFTER INSERT ON mappings FOR EACH STATEMENT WHEN ({CURRENT})": "mapping import",
}

RECORDED_FUNCTION: Final = f"""CREATE FUNCTION relais_recorded() RETURNS trigger LANGUAGE plpgsql
{PATH} AS $$
DECLARE
  content jsonb := CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
  named jsonb := '{{}}';
BEGIN
FOR place IN 1 .. TG_NARGS - 1 BY 2 LOOP
  named := named || jsonb_build_object(TG_ARGV[place + 1], content -> TG_ARGV[place]);
END LOOP;
IF NOT pg_has_role(session_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')
  AND NOT EXISTS (SELECT FROM operations WHERE tx = relais_tx() AND act ~ TG_ARGV[0] AND detail @> named) THEN
RAISE EXCEPTION 'a change of % that no act records', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END IF;
RETURN NULL;
END $$"""

# A replay gives the orders of its backend their turns, or takes them, and does nothing else to them; whatever else
# becomes of an order takes an act that lists it.
_SAME: Final = """b.due_at IN (w.due_at, now())
    AND (b.state, b.backend, b.unsure, b.reason, b.error, b.settled_at, b.aged_from, b.lease_until)
    IS NOT DISTINCT FROM (w.state, w.backend, w.unsure, w.reason, w.error, w.settled_at, w.aged_from, w.lease_until)"""
MOVED_FUNCTION: Final = f"""CREATE FUNCTION relais_moved() RETURNS trigger LANGUAGE plpgsql
{PATH} AS $$
BEGIN
INSERT INTO changes (source, content)
SELECT TG_TABLE_NAME, jsonb_strip_nulls(jsonb_build_object('act', act, 'orders', count(*), 'backend', of,
  'ids', jsonb_agg(order_id) FILTER (WHERE of IS NULL)))
FROM (
  SELECT order_id, CASE WHEN same AND turned THEN backend END AS of, CASE WHEN same THEN 'replay'
    WHEN state = before AND backend <> left_one THEN 'divert'
    WHEN backend <> left_one OR state = before THEN NULL
    WHEN state = '{State.CANCELLED}' THEN 'cancel'
    WHEN state = '{State.DISCARDED}' THEN 'discard'
    WHEN state = '{State.ACCEPTED}' AND before = '{State.DEAD}' THEN 'replay'
    WHEN state = '{State.ACCEPTED}' AND before = '{State.DELIVERED}' THEN 'resend' END AS act
  FROM (SELECT b.order_id, b.state, b.backend, w.state AS before, w.backend AS left_one,
    b.turn > 0 OR b.due_at = w.due_at AS turned, {_SAME}
    AS same
    FROM became b JOIN was w USING (order_id)) both_sides) moved
GROUP BY act, of;
RETURN NULL;
END $$"""
MOVED: Final = f"""CREATE TRIGGER moved AFTER UPDATE ON deliveries REFERENCING OLD TABLE AS was NEW TABLE AS became
FOR EACH STATEMENT WHEN ({CURRENT})
EXECUTE FUNCTION relais_moved()"""

ASKED_FUNCTION: Final = f"""CREATE FUNCTION relais_asked() RETURNS trigger LANGUAGE plpgsql
{PATH} AS $$
BEGIN
INSERT INTO changes (source, content) VALUES (TG_TABLE_NAME, jsonb_build_object('act', TG_ARGV[0]));
RETURN NULL;
END $$"""

NAMED_FUNCTION: Final = f"""CREATE FUNCTION relais_named() RETURNS trigger LANGUAGE plpgsql
{PATH} AS $$
DECLARE
  about jsonb := NEW.content - 'act' - 'orders' - 'ids';
  told jsonb := (SELECT jsonb_agg(detail) FROM operations
    WHERE tx = relais_tx() AND act ~ concat('^(orders? )?', NEW.content ->> 'act', '$') AND detail @> about);
BEGIN
IF told IS NULL OR NOT NEW.content ? 'act' OR EXISTS (
  SELECT jsonb_array_elements_text(NEW.content -> 'ids')
  EXCEPT SELECT id #>> '{{}}' FROM jsonb_path_query(told, '$[*].ids.**') AS id WHERE jsonb_typeof(id) = 'string'
  EXCEPT SELECT each ->> 'order' FROM jsonb_array_elements(told) AS each) THEN
RAISE EXCEPTION 'a change of % that no act records', NEW.source USING ERRCODE = 'insufficient_privilege';
END IF;
RETURN NULL;
END $$"""
NAMED: Final = """CREATE CONSTRAINT TRIGGER named AFTER INSERT ON changes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.source IN ('deliveries', 'notices', 'asides', 'mappings')) EXECUTE FUNCTION relais_named()"""

# An operator's act makes a window narrower, and never wider: that is earned.
NARROWED: Final = f"""CREATE TRIGGER narrowed BEFORE UPDATE OF "window" ON backends FOR EACH ROW
WHEN (NEW."window" > OLD."window"
  AND {SESSION})
EXECUTE FUNCTION relais_lasting()"""

# In this order, for a migration that lays them again.
FUNCTIONS: Final = ("relais_recorded", "relais_moved", "relais_asked", "relais_named")


def triggers() -> Iterator[tuple[str, str]]:
    """The name and the table of each trigger of this module."""
    for each in RECORDED:
        yield each.event.split()[0], each.table
    for event in ASKED:
        yield event.split()[0], event.split(" ON ")[1].split()[0]
    yield from (("moved", "deliveries"), ("named", "changes"), ("narrowed", "backends"))


def laying() -> list[str]:
    """DDL: the functions and triggers of this module."""
    return [
        RECORDED_FUNCTION,
        MOVED_FUNCTION,
        ASKED_FUNCTION,
        NAMED_FUNCTION,
        *map(_recording, RECORDED),
        *(f"CREATE TRIGGER {event} EXECUTE FUNCTION relais_asked('{act}')" for event, act in ASKED.items()),
        MOVED,
        NAMED,
        NARROWED,
    ]


def _recording(each: Recorded) -> str:
    when = "" if each.when is None else f" WHEN ({each.when})"
    words = ", ".join(f"'{word}'" for word in (each.acts, *chain(*each.names.items())))
    return (
        f"CREATE CONSTRAINT TRIGGER {each.event} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW{when} "
        f"EXECUTE FUNCTION relais_recorded({words})"
    )
