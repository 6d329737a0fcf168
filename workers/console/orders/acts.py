"""The act of the list that no other room has: cancelling, for their pharmacies, all orders that a filter fits.

Those that were taken after the list was shown are not touched: the address of the act names the moment. It goes in
batches, a transaction and a record each, and can be stopped between two.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from orders.refusals import NotDone
from orders.sentences import Sentence
from orders.states import State
from workers.console import fields as read
from workers.console.access.people import Role
from workers.console.acts import batches, summary
from workers.console.acts.act import COLUMNS, Act, Chosen, Preview, Running, digest_of
from workers.console.i18n import N_, Words
from workers.console.order_fields import CHOOSING, choice_of
from workers.console.state import ConsoleState
from workers.replay import cancel, redrive
from workers.replay.choice import Choice

STATES: Final = (State.ACCEPTED, State.DEAD)  # in which an order is certainly ours; nobody holds it
NONE_LEFT: Final = N_("None of them is left that can be cancelled.")
MOVING: Final = N_("On their way to the ERP, not among them")
PAUSE_FIRST: Final = N_("Pause the backend first: each is then delivered soon, or waits and can be cancelled.")


def choose(fields: Mapping[str, str]) -> Chosen:
    """Those of a state that the other fields fit, taken before `until`, which is now where none is named."""
    chosen = read.gather(fields, {"state": read.one_of(*STATES)}, CHOOSING)
    if not chosen.keys() - {"state", "until"}:
        raise read.wrong("filter", Sentence(NotDone.NARROW_IT))
    return {"until": datetime.now(UTC).isoformat(), **chosen}


async def preview(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    """How many, and a sample, of one reading."""
    rows = await redrive.look(state.engine, _choice(chosen), cancel.OURS)
    orders, facts = batches.counted(rows, words)
    told, none = summary.narrowing(chosen, ("state", *CHOOSING), words) + facts, words.gettext(NONE_LEFT)
    if moving := await cancel.moving(state.engine, _choice(chosen)):
        told.append((words.gettext(MOVING), f"{words.number(moving)}. {words.gettext(PAUSE_FIRST)}"))
        none = f"{none} {words.gettext(PAUSE_FIRST)}"
    return Preview(
        orders,
        told,
        rows,
        COLUMNS,
        digest_of(chosen, batches.seen(rows)),
        batches.hindered(orders, none, words),
        words.gettext(N_("The pharmacies get nothing of these orders. It cannot be taken back.")),
        confirm=str(orders),
    )


async def run(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    """Batch by batch until none is left that is not in another's hands."""
    choice, done = _choice(chosen), 0
    shown = await _left(state, choice)
    await running.at(0, shown)
    while ids := await cancel.cancel(state.engine, choice, reason, batches.BATCH):
        done += len(ids)
        await running.at(done, max(shown, done))
    left = await _left(state, choice)
    return {"cancelled": done, "left": left, "gone": max(0, shown - done - left)}


def _choice(chosen: Chosen) -> Choice:
    return choice_of(chosen, chosen.get("backend"), State(chosen["state"]))


async def _left(state: ConsoleState, choice: Choice) -> int:
    rows = await redrive.look(state.engine, choice, cancel.OURS)
    return int(rows[0]["orders"]) if rows else 0


ACTS: Final[tuple[Act, ...]] = (
    Act(
        "orders-cancel",
        N_("Cancel orders for their pharmacies"),
        N_("Cancel them"),
        Role.OPERATOR,
        choose,
        preview,
        run,
        long=True,
        danger=True,
        told={
            "cancelled": N_("Orders cancelled"),
            "left": N_("Still there"),
            "gone": N_("Went on meanwhile, not cancelled"),
        },
    ),
)
