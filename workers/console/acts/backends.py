"""The acts on a backend: what `relais pause`, `resume`, `rate`, `quarantine` and `release` do, and the same way.

Each is bound to what the person saw: of two who act at once one wins, and the other is told who did it. With
RELAIS_FOUR_EYES a release takes two: one proposes what they see, and another approves that very snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

from orders.errors import NotFound, NotSo
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
from workers.replay import commands
from workers.trust import quarantine

SLOWEST, FASTEST = 0.01, 1_000_000  # orders a second, as the command line takes them
OFF: Final = "off"
DIGEST: Final = re.compile("[0-9a-f]{64}")
TOLD: Final = {"backend": N_("Backend"), "standing": N_("Now")}

PAUSED: Final = N_("It is paused already.")
NOT_PAUSED: Final = N_("It is not paused.")
NOT_QUARANTINED: Final = N_("It is not in quarantine.")
GOES_AGAIN: Final = N_("Orders will go to it again: one canary first, then more and more.")
TAKES_TWO: Final = N_("A release takes two here: propose it, and another person approves it.")
TAKES_ONE: Final = N_("A release takes one person here: release it.")


def _choose(fields: Mapping[str, str]) -> Chosen:
    return read.gather(fields, {"backend": read.backend})


def _choose_rate(fields: Mapping[str, str]) -> Chosen:
    return read.gather(fields, {"backend": read.backend, "rate": _rate_of})


def _choose_digest(fields: Mapping[str, str]) -> Chosen:
    return read.gather(fields, {"backend": read.backend, "digest": _digest_of})


def _rate_of(given: str) -> float | None:
    """Orders a second; None for no cap."""
    if given == OFF:
        return None
    with suppress(ValueError):
        if SLOWEST <= (rate := float(given.replace(",", "."))) <= FASTEST:
            return rate
    raise ValueError(Sentence(NotDone.RATE, least=SLOWEST, most=FASTEST, off=OFF))


def _digest_of(given: str) -> str:
    if not DIGEST.fullmatch(given):
        raise ValueError(Sentence(NotDone.PROPOSAL))
    return given


async def _look(state: ConsoleState, chosen: Chosen, words: Words) -> tuple[backend_queries.Row, Preview]:
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


async def _by_whom(state: ConsoleState, name: str, act: str, sentence: str, words: Words) -> str:
    """`sentence`, and who did that, when and why."""
    async with state.engine.connect() as connection:
        row = await operations.last(connection, name, act)
    if row is None:
        return words.gettext(sentence)
    told = words.gettext("{what} {who} did that at {when}: {why}")
    why = row.reason or words.gettext("no reason given")
    return told.format(what=words.gettext(sentence), who=row.operator, when=words.moment(row.at), why=why)


async def _look_pause(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row, preview = await _look(state, chosen, words)
    if row["paused"]:
        return replace(preview, hindered=await _by_whom(state, row["name"], "pause", PAUSED, words))
    return replace(preview, warning=words.gettext("Nothing is forwarded until somebody resumes. Intake goes on."))


async def _look_resume(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row, preview = await _look(state, chosen, words)
    if not row["paused"]:
        return replace(preview, hindered=await _by_whom(state, row["name"], "resume", NOT_PAUSED, words))
    held = words.gettext("It stays in quarantine: nothing is forwarded before it is released.")
    return replace(preview, warning=held if row["quarantined"] else None)


async def _look_rate(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row, preview = await _look(state, chosen, words)
    now = (words.gettext("Orders a second at most, now"), _cap(row["rate"], words))
    then = (words.gettext("Orders a second at most, then"), _cap(chosen["rate"], words))
    return replace(preview, facts=[*preview.facts, now, then])


def _cap(rate: float | None, words: Words) -> str:
    return words.gettext("no cap") if rate is None else words.number(rate, 2)


async def _look_quarantine(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row, preview = await _look(state, chosen, words)
    if row["quarantined"]:
        told = words.gettext("It is in quarantine already, by {who}: {why}")
        return replace(preview, hindered=told.format(who=row["quarantined_by"], why=say(row["held_why"], words)))
    warning = words.gettext("Nothing is sent to it until it is released, not even a canary. Intake goes on.")
    return replace(preview, warning=warning)


async def _judged(
    state: ConsoleState, chosen: Chosen, words: Words
) -> tuple[backend_queries.Row, Preview, backend_queries.Row | None]:
    """As `_look`, and what a release is judged by; None, and the preview hindered, outside of quarantine."""
    row, preview = await _look(state, chosen, words)
    if row["quarantined"] and (now := await backend_queries.seen(state.engine, row["name"])):
        return row, replace(preview, sees=now["digest"], warning=words.gettext(GOES_AGAIN)), now
    hindered = await _by_whom(state, row["name"], "release", NOT_QUARANTINED, words)
    return row, replace(preview, hindered=hindered), None


async def _look_release(
    state: ConsoleState, chosen: Chosen, words: Words, *, four_eyes: bool, otherwise: str
) -> Preview:
    """What a release, or with `four_eyes` a proposal of one, is judged by."""
    _, preview, now = await _judged(state, chosen, words)
    if now is None:
        return preview
    backend, _holds, _circuit, *waiting = preview.facts
    hindered = None if state.settings.trust.four_eyes == four_eyes else words.gettext(otherwise)
    facts = [backend, *backend_queries.snapshot_facts(now, words), *waiting]
    return replace(preview, facts=facts, hindered=hindered)


async def _look_approve(state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    """The very snapshot that was proposed, and what is against approving it."""
    row, preview, now = await _judged(state, chosen, words)
    if now is None:
        return preview
    found = await backend_queries.proposals(state.engine, row["name"], row["quarantined_at"], limit=50)
    proposal = next((each for each in found if each["detail"].get("digest") == chosen["digest"]), None)
    if proposal is None:
        raise NotFound(Sentence(NotDone.NOT_PROPOSED_SINCE))
    facts = [
        preview.facts[0],
        (words.gettext("Proposed by"), proposal["operator"]),
        (words.gettext("Proposed at"), words.moment(proposal["at"])),
        (words.gettext("Their reason"), proposal["reason"] or ""),
        *backend_queries.snapshot_facts(proposal["detail"], words),
        (words.gettext("Orders that waited then"), words.number(proposal["detail"].get("backlog"))),
    ]
    hindered = _against(proposal, now, chosen, words)
    return replace(preview, orders=None, facts=facts, sample=(), hindered=hindered)


def _against(proposal: Mapping[str, Any], now: Mapping[str, Any], chosen: Chosen, words: Words) -> str | None:
    if now["digest"] != chosen["digest"]:
        told = words.gettext("It is not as {who} saw it any more: look at it and propose it again.")
        return told.format(who=proposal["operator"])
    if operations.folded(proposal["operator"]) == operations.folded(operations.operator()):
        return words.gettext("You proposed it: another person has to approve it.")
    return None


async def _pause(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await operations.pause(state.engine, state.settings, chosen["backend"], reason, first=True)
    return {"backend": chosen["backend"], "standing": N_("paused")}


async def _resume(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await operations.resume(state.engine, state.settings, chosen["backend"], reason, first=True)
    return {"backend": chosen["backend"], "standing": N_("resumed")}


async def _rate(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await commands.limit(state.engine, chosen["backend"], chosen["rate"], reason)
    return {"backend": chosen["backend"], "rate": OFF if chosen["rate"] is None else chosen["rate"]}


async def _quarantine(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await quarantine.quarantine(state.engine, state.settings, chosen["backend"], reason)
    return {"backend": chosen["backend"], "standing": N_("in quarantine")}


async def _release(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    if state.settings.trust.four_eyes:
        raise NotSo(Sentence(NotDone.TAKES_TWO))
    await quarantine.release(state.engine, chosen["backend"], reason, running.sees)
    return {"backend": chosen["backend"], "standing": N_("released")}


async def _propose(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    seen = await quarantine.propose(state.engine, chosen["backend"], reason, running.sees)
    return {"backend": chosen["backend"], "standing": N_("release proposed"), "digest": seen["digest"]}


async def _approve(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await quarantine.approve(state.engine, chosen["backend"], chosen["digest"], reason)
    return {"backend": chosen["backend"], "standing": N_("released")}


ACTS: Final[tuple[Act, ...]] = (
    Act("pause", N_("Pause a backend"), N_("Pause"), Role.OPERATOR, _choose, _look_pause, _pause, told=TOLD),
    Act("resume", N_("Resume a backend"), N_("Resume"), Role.OPERATOR, _choose, _look_resume, _resume, told=TOLD),
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
        _choose,
        _look_quarantine,
        _quarantine,
        danger=True,
        told=TOLD,
    ),
    Act(
        "release",
        N_("Release a backend from quarantine"),
        N_("Release it"),
        Role.APPROVER,
        _choose,
        partial(_look_release, four_eyes=False, otherwise=TAKES_TWO),
        _release,
        danger=True,
        told=TOLD,
    ),
    Act(
        "release-propose",
        N_("Propose to release a backend"),
        N_("Propose its release"),
        Role.OPERATOR,
        _choose,
        partial(_look_release, four_eyes=True, otherwise=TAKES_ONE),
        _propose,
        told={**TOLD, "digest": N_("Digest")},
    ),
    Act(
        "release-approve",
        N_("Approve the release of a backend"),
        N_("Approve and release"),
        Role.APPROVER,
        _choose_digest,
        _look_approve,
        _approve,
        danger=True,
        told=TOLD,
    ),
)
