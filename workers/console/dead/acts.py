"""The acts on dead letters: a group, some of its orders, or all that a filter fits, put through again or given up.

Only what was there when it was shown is touched: the address of the act names the moment. A long act goes in batches,
a transaction and a record each, and leaves to another act what that one has in hand; at the end it tells how many
were no longer there and who took them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.durations import instant
from orders.journal import snapshot
from orders.queries import causes as cause_queries
from orders.refusals import NotDone
from orders.sentences import Sentence
from orders.states import Reason, State
from workers.console import fields as read
from workers.console import order_fields
from workers.console.access.people import Role
from workers.console.acts import batches, summary
from workers.console.acts.act import COLUMNS, NAMED, Act, Chosen, Preview, Running, digest_of
from workers.console.i18n import N_, Words
from workers.console.masking import cause
from workers.console.order_fields import CHOOSING
from workers.console.state import ConsoleState
from workers.operations import operator
from workers.replay import redrive
from workers.replay.choice import Choice

SAMPLE: Final = 10
OF_FILTER: Final = (*COLUMNS, ("reason", N_("Reason")))
OF_GROUP: Final = (*NAMED, ("settled_at", N_("Since")))
RECENT_OPERATIONS: Final = 1000  # operations that are looked through for who else acted

Shown = tuple[int, list[tuple[str, str]], Sequence[Mapping[str, Any]]]  # how many, facts, a sample
Show = Callable[[AsyncEngine, Choice, Words], Awaitable[Shown]]
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
    """A group (`cause`), orders (`id`, several with commas between), or those that a filter fits, as of `before`."""
    readers = {"id": read.ids, "cause": read.number, "before": _before, "state": read.one_of(State.DEAD), **CHOOSING}
    chosen = {"before": datetime.now(UTC).isoformat(), **read.gather(fields, {}, readers)}
    for alone in ("id", "cause"):
        if alone in chosen:
            return {alone: chosen[alone], "before": chosen["before"]}
    if len(chosen) == 1:
        raise read.wrong("id", Sentence(NotDone.CHOOSE_DEAD))
    return chosen


def _before(given: str) -> str:
    return instant(read.moment(given)).isoformat()


def choice_of(chosen: Chosen) -> Choice:
    """The same as the command line chooses."""
    before = datetime.fromisoformat(chosen["before"])
    if "cause" in chosen:
        return Choice(State.DEAD, cause=int(chosen["cause"]), before=before)
    choice = order_fields.choice_of({**chosen, "ids": chosen.get("id")}, chosen.get("backend"), State.DEAD)
    return replace(choice, before=before)


async def preview(
    state: ConsoleState, chosen: Chosen, words: Words, *, warning: str | None = None, again: bool = False
) -> Preview:
    """How many, since when, whose; by the tallies for a group, however large it is."""
    choice, _ = replace(choice_of(chosen), fit=again), words.gettext
    shown, columns = _shown(choice)
    orders, facts, rows = await shown(state.engine, choice, words)
    none = _(_NONE_FIT if again else N_("None of them is left."))
    return Preview(
        orders,
        summary.narrowing(chosen, ("state", *CHOOSING), words) + facts,
        rows,
        columns,
        digest_of(chosen, orders),
        batches.hindered(orders, none, words, max(orders, 1) if choice.cause is not None else batches.MOST_ORDERS),
        warning and _(warning),
        confirm=str(orders),
    )


def _shown(choice: Choice) -> tuple[Show, Sequence[tuple[str, str]]]:
    """What shows such a choice, and the columns of its sample."""
    if choice.cause is not None:
        return _of_group, OF_GROUP
    return (_of_filter, OF_FILTER) if choice.ids is None else (_of_orders, COLUMNS)


async def _of_filter(engine: AsyncEngine, choice: Choice, words: Words) -> Shown:
    rows = await redrive.look(engine, choice)
    orders, facts = batches.counted(rows, words)
    return orders, [*facts, (words.gettext("As it stood at"), words.moment(choice.before))], rows


async def _of_group(engine: AsyncEngine, choice: Choice, words: Words) -> Shown:
    assert choice.cause is not None and choice.before is not None
    _ = words.gettext
    async with snapshot(engine) as connection:
        group = await cause_queries.group(connection, choice.cause)
        codes = await cause_queries.codes(connection, [choice.cause])
        edges = await cause_queries.edges(connection, choice.cause, choice.before)
        sample = await cause_queries.members(connection, choice.cause, limit=SAMPLE)
    facts = [
        (_("Cause"), cause_words(group, words, codes.get(choice.cause))),
        (_("Backend"), group["backend"]),
        (_("Oldest"), words.moment(edges["oldest"])),
        (_("Youngest"), words.moment(edges["youngest"])),
        (_("As it stood at"), words.moment(choice.before)),
    ]
    if edges["joined"]:
        facts.append((_("Joined the group since, not touched"), words.number(edges["joined"])))
    lost = choice.fit and group["reason"] == Reason.CONFLICT
    orders = 0 if lost else max(0, group["orders"] - edges["joined"])
    return orders, facts, [row for row in sample if row["settled_at"] <= choice.before]


async def _of_orders(engine: AsyncEngine, choice: Choice, words: Words) -> Shown:
    _, ids = words.gettext, list(choice.ids or ())
    async with snapshot(engine) as connection:
        found = await redrive.preview(connection, choice)
        sample = (await connection.execute(SAMPLED, {"ids": ids, "limit": SAMPLE})).mappings().all()
    orders = found["orders"]
    facts = [
        (_("Pharmacies"), words.number(found["pharmacies"])),
        (_("Oldest"), words.moment(found["oldest"])),
        (_("Youngest"), words.moment(found["youngest"])),
    ]
    if orders < len(ids):
        facts.append((_("No longer dead letters"), words.number(len(ids) - orders)))
    return orders, facts, [dict(row) for row in sample]


def cause_words(group: Mapping[str, Any], words: Words, code: Sentence | None) -> str:
    """A cause on one line: `refused 422: RUPTURE …`."""
    status = f" {group['status']}" if group["status"] is not None else ""
    return f"{words.gettext(group['reason'])}{status}: {cause(group, words, code)}"


async def run(
    state: ConsoleState, chosen: Chosen, reason: str, running: Running, *, do: Do, did: str
) -> dict[str, Any]:
    """Batch by batch until none is left that is not in another's hands; what became of those that were shown."""
    choice = choice_of(chosen)
    shown = await _left(state.engine, choice)
    began = choice.before or datetime.now(UTC)
    done = 0
    await running.at(0, shown)
    while ids := await do(state.engine, choice, reason, batches.BATCH):
        done += len(ids)
        await running.at(done, max(shown, done))
    left = await _left(state.engine, choice)
    outcome: dict[str, Any] = {did: done, "left": left}
    if by := await _others(state.engine, choice, began):
        outcome["by"] = by
    if choice.cause is not None and choice.before is not None:
        outcome["joined"] = (await cause_queries.edges(state.engine, choice.cause, choice.before))["joined"]
    return outcome


async def _left(engine: AsyncEngine, choice: Choice) -> int:
    """How many of the choice are still dead letters."""
    if choice.cause is None or choice.before is None:
        return int((await redrive.preview(engine, choice))["orders"])
    async with engine.connect() as connection:
        group = await cause_queries.group(connection, choice.cause)
        edges = await cause_queries.edges(connection, choice.cause, choice.before)
    return max(0, int(group["orders"]) - int(edges["joined"]))


async def _others(engine: AsyncEngine, choice: Choice, since: datetime) -> str:
    """Who else acted on them since they were shown: `paul (replay, 12)`; empty when nobody did."""
    values = {
        "recent": RECENT_OPERATIONS,
        "me": operator(),
        "since": since,
        "ids": [str(each) for each in choice.ids or ()],
        "cause": None if choice.cause is None else str(choice.cause),
    }
    async with engine.connect() as connection:
        rows = (await connection.execute(OTHERS, values)).all()
    return ", ".join(f"{row.operator} ({row.act}, {row.orders})" for row in rows)


_NONE_FIT: Final = N_("None of them is left that can be put through again.")
_WARNING: Final = N_("They are given up for good: a discarded order cannot be replayed. It stays in the journal.")


def _act(kind: str, title: str, button: str, do: Do, did: str, told: str, warning: str | None = None) -> Act:
    """One with a `warning` is dangerous."""
    return Act(
        kind,
        title,
        button,
        Role.OPERATOR,
        choose,
        partial(preview, warning=warning, again=warning is None),
        partial(run, do=do, did=did),
        long=True,
        danger=warning is not None,
        told={
            did: told,
            "left": N_("Still dead letters"),
            "by": N_("Acted on them meanwhile"),
            "joined": N_("Joined the group since, not touched"),
        },
    )


ACTS: Final[tuple[Act, ...]] = (
    _act("dead-replay", N_("Replay dead letters"), N_("Replay them"), redrive.replay, "replayed", N_("Replayed")),
    _act(
        "dead-discard",
        N_("Discard dead letters"),
        N_("Give them up"),
        redrive.discard,
        "discarded",
        N_("Discarded"),
        _WARNING,
    ),
)
