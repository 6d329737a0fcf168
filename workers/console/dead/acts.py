"""The acts on dead letters: a group or some of its orders put through again, or given up.

Only what was there when it was shown is touched: the address of the act names the moment. A long act goes in batches,
a transaction and a record each, and leaves to another act what that one has in hand; at the end it tells how many
were no longer there and who took them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.errors import Fault, Malformed
from orders.queries import causes as cause_queries
from orders.states import State
from workers.console.access.people import Role
from workers.console.acts.act import Act, Chosen, Preview, Running
from workers.console.i18n import N_, Words
from workers.console.state import ConsoleState
from workers.operations import operator
from workers.replay import redrive as replaying
from workers.replay.choice import Choice

MOST: Final = 500  # orders chosen one by one
BATCH: Final = 1000  # orders of one transaction
SAMPLE: Final = 10
RECENT: Final = 1000  # operations that are looked through for who else acted
HIGHEST: Final = 2**52  # of a cause's id

Do = Callable[[AsyncEngine, Choice, str, int], Awaitable[list[UUID]]]

OTHERS: Final = text("""
SELECT operator, act, CAST(sum(CAST(detail ->> 'orders' AS bigint)) AS bigint) AS orders
FROM (SELECT * FROM operations ORDER BY id DESC LIMIT :recent) recent
WHERE act IN ('replay', 'discard') AND operator <> :me AND at >= :since
  AND (detail -> 'choice' ->> 'cause' = CAST(:cause AS text) OR detail -> 'ids' ?| CAST(:ids AS text[]))
GROUP BY operator, act ORDER BY operator, act
""")

SAMPLED: Final = text(f"""
SELECT o.id, o.pharmacy, o.reference, d.reason, d.accepted_at FROM deliveries d JOIN orders o ON o.id = d.order_id
WHERE d.state = '{State.DEAD}' AND d.order_id = ANY(CAST(:ids AS uuid[])) ORDER BY d.order_id LIMIT :limit
""")


def choose(fields: Mapping[str, str]) -> Chosen:
    """A group (`cause`), or orders (`id`, several with commas between), as they stood at `before`."""
    chosen: Chosen = {"before": _before(fields.get("before"))}
    if fields.get("id"):
        chosen["id"] = ",".join(_ids(fields["id"]))
    elif fields.get("cause"):
        chosen["cause"] = str(cause_of(fields["cause"]))
    else:
        raise _wrong("id", "choose dead letters, or a group of them")
    return chosen


def cause_of(given: str) -> int:
    """The id of a cause. Raises Malformed."""
    if not (given.isascii() and given.isdecimal() and len(given) <= 16 and int(given) < HIGHEST):
        raise _wrong("cause", "must be the number of a group")
    return int(given)


def _ids(given: str) -> list[str]:
    try:
        ids = sorted({str(UUID(each.strip())) for each in given.split(",")})
    except ValueError:
        raise _wrong("id", "must be ids of orders, with commas between") from None
    if len(ids) > MOST:
        raise _wrong("id", f"must be at most {MOST} orders at a time")
    return ids


def _before(given: str | None) -> str:
    try:
        at = datetime.fromisoformat(given) if given else datetime.now(UTC)
    except ValueError:
        raise _wrong("before", "must be a time, as in 2026-01-05T11:30:00Z") from None
    if at.tzinfo is None or not 1970 < at.year < 2200:
        raise _wrong("before", "must be a time with its zone, of these days")
    return at.isoformat()


def _wrong(field: str, message: str) -> Malformed:
    return Malformed([Fault(field, None, message)])


def choice_of(chosen: Chosen) -> Choice:
    """The same as the command line chooses."""
    before = datetime.fromisoformat(chosen["before"])
    if "id" in chosen:
        return Choice(State.DEAD, ids=tuple(UUID(each) for each in chosen["id"].split(",")), before=before)
    return Choice(State.DEAD, cause=int(chosen["cause"]), before=before)


async def preview(desk: ConsoleState, chosen: Chosen, words: Words, *, warning: str | None) -> Preview:
    """How many, since when, whose; by the tallies for a group, however large it is."""
    choice = choice_of(chosen)
    if choice.cause is None:
        return await _of_orders(desk, chosen, choice, words, warning)
    return await _of_group(desk, chosen, choice, words, warning)


async def _of_group(desk: ConsoleState, chosen: Chosen, choice: Choice, words: Words, warning: str | None) -> Preview:
    assert choice.cause is not None and choice.before is not None
    _ = words.gettext
    async with desk.engine.connect() as connection:
        group = await cause_queries.group(connection, choice.cause)
        edges = await cause_queries.edges(connection, choice.cause, choice.before)
        sample = await cause_queries.members(connection, choice.cause, limit=SAMPLE)
    orders = max(0, group["orders"] - edges["joined"])
    facts = [
        (_("Cause"), cause_words(group, words)),
        (_("Backend"), group["backend"]),
        (_("Oldest"), words.moment(edges["oldest"])),
        (_("Youngest"), words.moment(edges["youngest"])),
        (_("As it stood at"), words.moment(choice.before)),
    ]
    if edges["joined"]:
        facts.append((_("Joined the group since, not touched"), words.number(edges["joined"])))
    listed = [
        {
            "id": str(row["id"]),
            "pharmacy": row["pharmacy"],
            "reference": row["reference"],
            "since": words.moment(row["settled_at"]),
        }
        for row in sample
        if row["settled_at"] <= choice.before
    ]
    columns = [("id", _("Order")), ("pharmacy", _("Pharmacy")), ("reference", _("Reference")), ("since", _("Since"))]
    left = None if orders else _("None of them is left.")
    return Preview(orders, facts, listed, columns, digest([chosen, orders]), left, warning)


async def _of_orders(desk: ConsoleState, chosen: Chosen, choice: Choice, words: Words, warning: str | None) -> Preview:
    _ = words.gettext
    found = await replaying.preview(desk.engine, choice)
    async with desk.engine.connect() as connection:
        values = {"ids": list(choice.ids or ()), "limit": SAMPLE}
        sample = (await connection.execute(SAMPLED, values)).mappings().all()
    orders, asked = found["orders"], len(choice.ids or ())
    facts = [
        (_("Pharmacies"), words.number(found["pharmacies"])),
        (_("Oldest"), words.moment(found["oldest"])),
        (_("Youngest"), words.moment(found["youngest"])),
    ]
    if orders < asked:
        facts.append((_("No longer dead letters"), words.number(asked - orders)))
    listed = [
        {
            "id": str(row["id"]),
            "pharmacy": row["pharmacy"],
            "reference": row["reference"],
            "since": words.moment(row["accepted_at"]),
        }
        for row in sample
    ]
    columns = [
        ("id", _("Order")),
        ("pharmacy", _("Pharmacy")),
        ("reference", _("Reference")),
        ("since", _("Accepted")),
    ]
    left = None if orders else _("None of them is left.")
    return Preview(orders, facts, listed, columns, digest([chosen, orders]), left, warning)


def digest(seen: Any) -> str:
    """Of what a person judges by."""
    return hashlib.sha256(json.dumps(seen, sort_keys=True, default=str).encode()).hexdigest()


def cause_words(group: Mapping[str, Any], words: Words) -> str:
    """A cause on one line: `refused 422: RUPTURE …`."""
    status = f" {group['status']}" if group["status"] is not None else ""
    return f"{words.gettext(group['reason'])}{status}: {group['message'] or words.gettext('no words')}"


async def run(desk: ConsoleState, chosen: Chosen, reason: str, running: Running, *, do: Do, did: str) -> dict[str, Any]:
    """Batch by batch until none is left that is not in another's hands; what became of those that were shown."""
    choice = choice_of(chosen)
    shown = await _standing(desk.engine, choice)
    began = choice.before or datetime.now(UTC)
    done = 0
    await running.at(0, shown)
    while ids := await do(desk.engine, choice, reason, BATCH):
        done += len(ids)
        await running.at(done, max(shown, done))
    left = await _standing(desk.engine, choice)
    outcome: dict[str, Any] = {did: done, "left": left}
    if by := await _others(desk.engine, choice, began):
        outcome["by"] = by
    if choice.cause is not None and choice.before is not None:
        outcome["joined"] = (await cause_queries.edges(desk.engine, choice.cause, choice.before))["joined"]
    return outcome


async def _standing(engine: AsyncEngine, choice: Choice) -> int:
    """How many of the choice are still dead letters."""
    if choice.cause is None or choice.before is None:
        return int((await replaying.preview(engine, choice))["orders"])
    async with engine.connect() as connection:
        group = await cause_queries.group(connection, choice.cause)
        edges = await cause_queries.edges(connection, choice.cause, choice.before)
    return max(0, int(group["orders"]) - int(edges["joined"]))


async def _others(engine: AsyncEngine, choice: Choice, since: datetime) -> str:
    """Who else acted on them since they were shown: `paul (replay, 12)`; empty when nobody did."""
    values = {
        "recent": RECENT,
        "me": operator(),
        "since": since,
        "ids": [str(each) for each in choice.ids or ()],
        "cause": None if choice.cause is None else str(choice.cause),
    }
    async with engine.connect() as connection:
        rows = (await connection.execute(OTHERS, values)).all()
    return ", ".join(f"{row.operator} ({row.act}, {row.orders})" for row in rows)


_WARNING: Final = N_("They are given up for good: a discarded order cannot be replayed. It stays in the journal.")


async def _preview_discard(desk: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    return await preview(desk, chosen, words, warning=words.gettext(_WARNING))


_TOLD: Final = {
    "left": N_("Still dead letters"),
    "by": N_("Acted on them meanwhile"),
    "joined": N_("Joined the group since, not touched"),
}

ACTS: Final[tuple[Act, ...]] = (
    Act(
        "dead-replay",
        N_("Replay dead letters"),
        N_("Replay them"),
        Role.OPERATOR,
        choose,
        partial(preview, warning=None),
        partial(run, do=replaying.replay, did="replayed"),
        long=True,
        told={"replayed": N_("Replayed"), **_TOLD},
    ),
    Act(
        "dead-discard",
        N_("Discard dead letters"),
        N_("Give them up"),
        Role.OPERATOR,
        choose,
        _preview_discard,
        partial(run, do=replaying.discard, did="discarded"),
        long=True,
        danger=True,
        told={"discarded": N_("Discarded"), **_TOLD},
    ),
)
