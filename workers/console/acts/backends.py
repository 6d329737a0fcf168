"""The acts on a backend: what `relais pause`, `resume`, `rate` and `quarantine` do, and the same way.

Each is bound to what the person saw: of two who act at once one wins, and the other is told who did it. Releasing is
in `workers.console.acts.releases`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from orders.refusals import NotDone
from orders.sentences import Sentence
from workers import operations
from workers.console import fields as read
from workers.console.access.people import Role
from workers.console.acts import backend_queries
from workers.console.acts.act import Act, Chosen, Preview, Running, digest_of
from workers.console.i18n import N_, Words
from workers.console.masking import say
from workers.console.state import ConsoleState
from workers.trust import quarantine

SLOWEST, FASTEST = 0.01, 1_000_000  # orders a second, as the command line takes them
OFF: Final = "off"
TOLD: Final = {"backend": N_("Backend"), "standing": N_("Now")}

PAUSED: Final = N_("It is paused already.")
NOT_PAUSED: Final = N_("It is not paused.")


def choose(fields: Mapping[str, str]) -> Chosen:
    """The backend that a form names."""
    return read.gather(fields, {"backend": read.backend})


def _choose_rate(fields: Mapping[str, str]) -> Chosen:
    return read.gather(fields, {"backend": read.backend, "rate": _rate_of})


def _rate_of(given: str) -> float | None:
    """Orders a second; None for no cap."""
    if given == OFF:
        return None
    with suppress(ValueError):
        if SLOWEST <= (rate := float(given.replace(",", "."))) <= FASTEST:
            return rate
    raise ValueError(Sentence(NotDone.RATE, least=SLOWEST, most=FASTEST, off=OFF))


async def look(state: ConsoleState, chosen: Chosen, words: Words) -> tuple[backend_queries.Row, Preview]:
    """The backend's row, and what every act on it shows: how it stands, and what waits for it."""
    row = await backend_queries.of_backend(state.engine, state.settings, chosen["backend"])
    found = await backend_queries.backlog(state.engine, row["name"])
    _ = words.gettext
    exact = found["orders"] if found["orders"] < backend_queries.MOST_COUNTED else None
    many, *times = backend_queries.waiting_facts(found, words)
    facts = [
        (_("Backend"), row["name"]),
        (_("Holds it now"), backend_queries.in_words(row, words) or _("nothing")),
        *([] if exact is not None else [many]),
        *times,
    ]
    sees = digest_of(row["paused"], row["quarantined"], row["quarantined_at"], row["rate"])
    return row, Preview(exact, facts, found["sample"], sees=sees)


async def by_whom(state: ConsoleState, name: str, act: str, sentence: str, words: Words) -> str:
    """`sentence`, and who did that, when and why."""
    async with state.engine.connect() as connection:
        row = await operations.last(connection, name, act)
    if row is None:
        return words.gettext(sentence)
    told = words.gettext("{what} {who} did that at {when}: {why}")
    why = row.reason or words.gettext("no reason given")
    return told.format(what=words.gettext(sentence), who=row.operator, when=words.moment(row.at), why=why)


async def _look_pause(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row, preview = await look(state, chosen, words)
    if row["paused"]:
        return replace(preview, hindered=await by_whom(state, row["name"], "pause", PAUSED, words))
    return replace(preview, warning=words.gettext("Nothing is forwarded until somebody resumes. Intake goes on."))


async def _look_resume(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row, preview = await look(state, chosen, words)
    if not row["paused"]:
        return replace(preview, hindered=await by_whom(state, row["name"], "resume", NOT_PAUSED, words))
    held = words.gettext("It stays in quarantine: nothing is forwarded before it is released.")
    return replace(preview, warning=held if row["quarantined"] else None)


async def _look_rate(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row, preview = await look(state, chosen, words)
    now = (words.gettext("Orders a second at most, now"), _cap(row["rate"], words))
    then = (words.gettext("Orders a second at most, then"), _cap(chosen["rate"], words))
    return replace(preview, facts=[*preview.facts, now, then])


def _cap(rate: float | None, words: Words) -> str:
    return words.gettext("no cap") if rate is None else words.number(rate, 2)


async def _look_quarantine(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row, preview = await look(state, chosen, words)
    if row["quarantined"]:
        told = words.gettext("It is in quarantine already, by {who}: {why}")
        return replace(preview, hindered=told.format(who=row["quarantined_by"], why=say(row["held_why"], words)))
    warning = words.gettext("Nothing is sent to it until it is released, not even a canary. Intake goes on.")
    return replace(preview, warning=warning)


async def _pause(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await operations.pause(state.engine, state.settings, chosen["backend"], reason, first=True)
    return {"backend": chosen["backend"], "standing": N_("paused")}


async def _resume(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await operations.resume(state.engine, state.settings, chosen["backend"], reason, first=True)
    return {"backend": chosen["backend"], "standing": N_("resumed")}


async def _rate(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await operations.limit(state.engine, chosen["backend"], chosen["rate"], reason)
    return {"backend": chosen["backend"], "rate": OFF if chosen["rate"] is None else chosen["rate"]}


async def _quarantine(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await quarantine.quarantine(state.engine, state.settings, chosen["backend"], reason)
    return {"backend": chosen["backend"], "standing": N_("in quarantine")}


ACTS: Final[tuple[Act, ...]] = (
    Act("pause", N_("Pause a backend"), N_("Pause"), Role.OPERATOR, choose, _look_pause, _pause, told=TOLD),
    Act("resume", N_("Resume a backend"), N_("Resume"), Role.OPERATOR, choose, _look_resume, _resume, told=TOLD),
    Act(
        "rate",
        N_("Cap a backend's rate"),
        N_("Set the cap"),
        Role.OPERATOR,
        _choose_rate,
        _look_rate,
        _rate,
        told={"backend": N_("Backend"), "rate": N_("Orders a second at most")},
    ),
    Act(
        "quarantine",
        N_("Put a backend into quarantine"),
        N_("Put it into quarantine"),
        Role.OPERATOR,
        choose,
        _look_quarantine,
        _quarantine,
        danger=True,
        told=TOLD,
    ),
)
