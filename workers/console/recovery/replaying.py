"""The acts on a staged replay: begin one, pause it, let it go on, make it wait, end it.

They are those of `relais replay`. Whoever steers has seen a certain replay, at a certain stage where it matters: the
journal refuses the second of two who act on the same at once, and says who was first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from orders.errors import NotSo
from orders.journal import snapshot
from orders.queries import replays as replay_queries
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console import fields as read
from workers.console.access.people import Role
from workers.console.acts.act import Act, Chosen, Preview, Running, digest_of
from workers.console.i18n import N_, Words
from workers.console.masking import say
from workers.console.order_fields import OF_BACKLOG, choice_of
from workers.console.recovery import common as sh
from workers.console.recovery import queries as kept
from workers.console.recovery import stages
from workers.console.state import ConsoleState
from workers.replay import commands, redrive
from workers.replay.choice import Choice
from workers.replay.commands import OPEN_STATES, ReplaySeen
from workers.replay.gates import going_on

Step = Callable[[AsyncEngine, str, str, ReplaySeen | None], Awaitable[None]]

SEEN_AT: Final = "/recovery?did={did}#backend-{backend}"  # where the stages are
TOLD: Final = {
    "backend": N_("Backend"),
    "replay": N_("Number of the replay"),
    "orders": N_("Orders"),
    "state": N_("State"),
}


def _choose(fields: Mapping[str, str]) -> Chosen:
    return read.gather(fields, {"backend": read.backend}, {**OF_BACKLOG, "hold": read.yes})


async def _preview(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    name = chosen["backend"]
    row = (await sh.backends_of(state, name)).get(name)
    open_ = await _open(state, name)
    choice = choice_of(chosen, name)
    found, sample = await sh.in_time(_seen(state.engine, choice)) or (None, await _sample(state.engine, choice))
    facts = [(words.gettext("Backend"), name), (words.gettext("It stands"), sh.how(row, words))]
    facts += sh.narrowing(chosen, words)
    facts.append((words.gettext("After each stage"), _holds(bool(chosen.get("hold")), words)))
    hindered = _hindered(found, open_, words)
    return Preview(
        orders=None if found is None else found["orders"],
        facts=facts + ([_uncounted(words)] if found is None else sh.ordered(found, words)),
        sample=sample,
        sees=digest_of("replay", chosen, sh.held(row), open_ and open_["id"]),
        hindered=hindered,
        warning=_warning(row, words),
    )


def _warning(row: dict[str, Any] | None, words: Words) -> str | None:
    """What becomes of it while the backend takes nothing."""
    if row is None or sh.held(row) == (False, False, True):
        return None
    if row["paused"] or row["quarantined"]:
        return words.gettext("Nothing of it goes out before the backend takes orders again.")
    return words.gettext("One order is tried at once: if it fails, the replay holds until somebody resumes it.")


async def _seen(engine: AsyncEngine, choice: Choice) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and sample of one reading."""
    async with snapshot(engine) as connection:
        return await redrive.preview(connection, choice), await kept.sample(connection, choice)


async def _sample(engine: AsyncEngine, choice: Choice) -> list[dict[str, Any]]:
    return await sh.in_time(kept.sample(engine, choice)) or []


def _hindered(found: Mapping[str, Any] | None, open_: Mapping[str, Any] | None, words: Words) -> str | None:
    if open_ is not None:
        by = words.gettext("Replay {0} of this backend, started by {1}, is not over: steer it, or cancel it first.")
        return by.format(open_["id"], open_["started_by"])
    if found is not None and not found["orders"]:
        return words.gettext("No order of the backlog is chosen by this.")
    return None


def _uncounted(words: Words) -> tuple[str, str]:
    return words.gettext("Orders"), words.gettext("so many that a page does not wait until they are counted")


def _holds(hold: bool, words: Words) -> str:
    return words.gettext("it waits for a word") if hold else words.gettext("it goes on by itself")


async def _start(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    choice = choice_of(chosen, chosen["backend"])
    async with state.unhurried(pool=2) as engine:
        began = await commands.start(engine, choice, hold=bool(chosen.get("hold")), reason=reason)
    if began.id is None:
        raise NotSo(Sentence(NotDone.NOTHING_CHOSEN))
    return {"backend": chosen["backend"], "replay": began.id, "orders": len(began.orders)}


async def _open(state: ConsoleState, backend: str) -> dict[str, Any] | None:
    rows = await replay_queries.standing(state.engine)
    return next((row for row in rows if row["backend"] == backend and row["ended_at"] is None), None)


def _choose_step(fields: Mapping[str, str]) -> Chosen:
    return read.gather(fields, {"backend": read.backend}, {"replay": read.number, "stage": read.stage})


def _looking(allowed: tuple[str, ...], sees: tuple[str, ...], warning: str | None, *, onward: bool) -> Any:
    """A preview of the replay as it stands; the act is another one when the fields that it `sees` are. One that takes
    it `onward` touches what goes then, the others all that is left.
    """

    async def look(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
        await sh.backends_of(state, chosen["backend"])
        row = await _open(state, chosen["backend"])
        if row is None or int(chosen.get("replay", row["id"])) != row["id"]:
            gone = words.gettext("The replay that this is about is over, or there was none.")
            return Preview(orders=None, sees=digest_of("replay", None), hindered=gone)
        stands = words.gettext(stages.STATES[row["state"]][1])
        ready = row["state"] in allowed and chosen.get("stage", str(row["stage"])) == str(row["stage"])
        stage, orders = going_on(row) if onward else (None, row["left"])
        return Preview(
            orders=orders,
            facts=_facts(row, stands, stage, words),
            sees=digest_of(*(row[name] for name in sees)),
            hindered=None
            if ready
            else words.gettext("It is not so any more: the replay is {0}, at: {1}.").format(
                stands, stages.stage_named(row["stage"], words)
            ),
            warning=None if warning is None else words.gettext(warning),
        )

    return look


def _facts(row: Mapping[str, Any], stands: str, onward: int | None, words: Words) -> list[tuple[str, str]]:
    goes_on = [] if onward is None else [(words.gettext("Goes on with"), stages.stage_named(onward, words))]
    facts = [
        (words.gettext("Number of the replay"), f"{row['id']} ({row['backend']})"),
        (words.gettext("State"), stands),
        (words.gettext("Stage"), stages.stage_named(row["stage"], words)),
        *goes_on,
        (words.gettext("After each stage"), _holds(row["hold"], words)),
        (words.gettext("Orders of it"), words.number(row["orders"])),
        (words.gettext("Not yet final"), words.number(row["left"])),
        (words.gettext("Started"), f"{words.moment(row['started_at'])}, {row['started_by']}"),
    ]
    return facts + ([(words.gettext("Why"), say(row["why"], words))] if row["why"] else [])


def _doing(step: Step) -> Any:
    """What does the step, on the replay that was looked at, and says how it stands then."""

    async def do(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
        seen = None
        if "replay" in chosen:
            seen = ReplaySeen(int(chosen["replay"]), int(chosen["stage"]) if "stage" in chosen else None)
        await step(state.engine, chosen["backend"], reason, seen)
        rows = await replay_queries.standing(state.engine)
        row = next(row for row in rows if row["backend"] == chosen["backend"])
        return {"backend": chosen["backend"], "replay": row["id"], "state": row["state"]}

    return do


def _holding(wanted: bool) -> Step:
    return lambda engine, backend, reason, seen: commands.hold(engine, backend, wanted, reason, seen)


WHOLE: Final = ("id", "state", "stage", "passed")  # what an act sees that is about the present stage
AT_ONCE: Final = N_("Where it waits for a word, the next stage begins at once.")
FREED: Final = N_("Its orders that are left stay due: they go as the window lets them, without stages and gates.")


def _step(kind: str, title: str, button: str, step: Step, allowed: tuple[str, ...], *sees: str, **more: Any) -> Act:
    return Act(
        kind=f"replay-{kind}",
        title=title,
        button=button,
        role=Role.OPERATOR,
        choose=_choose_step,
        preview=_looking(allowed, sees, more.pop("warning", None), onward=kind in ("resume", "next")),
        run=_doing(step),
        after=SEEN_AT,
        told=TOLD,
        **more,
    )


ACTS: Final[tuple[Act, ...]] = (
    Act(
        "replay-start",
        N_("Replay the backlog"),
        N_("Start the replay"),
        Role.OPERATOR,
        _choose,
        _preview,
        _start,
        after=SEEN_AT,
        told=TOLD,
    ),
    _step("pause", N_("Pause the replay"), N_("Pause"), commands.pause, ("running",), "id", "state"),
    _step("resume", N_("Resume the replay"), N_("Resume"), commands.resume, ("paused", "holding"), *WHOLE),
    _step("next", N_("Let the next stage begin"), N_("Next stage"), commands.next_stage, ("holding",), *WHOLE),
    _step("hold", N_("Hold the replay after each stage"), N_("Hold"), _holding(True), OPEN_STATES, "id", "hold"),
    _step(
        "unhold",
        N_("Let the replay take stage after stage"),
        N_("Hold no more"),
        _holding(False),
        OPEN_STATES,
        "id",
        "hold",
        warning=AT_ONCE,
    ),
    _step(
        "cancel",
        N_("Cancel the replay"),
        N_("Cancel the replay"),
        commands.cancel,
        OPEN_STATES,
        "id",
        danger=True,
        warning=FREED,
    ),
)
