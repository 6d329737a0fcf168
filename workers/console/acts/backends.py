"""The acts on a backend: what `relais pause`, `resume`, `rate`, `quarantine` and `release` do, and the same way.

Each is bound to what the person saw: of two who act at once one wins, and the other is told who did it. With
RELAIS_FOUR_EYES a release takes two: one proposes what they see, and another approves that very snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from orders.errors import NotFound, NotSo
from workers import operations
from workers.console.access.people import Role
from workers.console.acts import backend_queries
from workers.console.acts.act import Act, Chosen, Preview, Running
from workers.console.fields import backend_from, needed, number_from, wrong
from workers.console.i18n import N_, Words
from workers.console.masking import say
from workers.console.state import ConsoleState
from workers.replay import commands
from workers.trust import quarantine

LEAST, MOST = 0.01, 1_000_000  # orders a second, as the command line takes them
OFF: Final = "off"
TOLD: Final = {"backend": N_("Backend"), "standing": N_("Now")}


def _choose(fields: Mapping[str, str]) -> Chosen:
    return {"backend": backend_from(fields)}


def _choose_rate(fields: Mapping[str, str]) -> Chosen:
    rate = None if fields.get("rate") == OFF else number_from(fields, "rate", LEAST, MOST)
    if rate is None and fields.get("rate") != OFF:
        raise wrong("rate", f"must be orders a second, or {OFF}")
    return {"backend": backend_from(fields), "rate": rate}


def _choose_digest(fields: Mapping[str, str]) -> Chosen:
    digest = needed(fields, "digest")
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise wrong("digest", "must be that of a proposal")
    return {"backend": backend_from(fields), "digest": digest}


async def _holding(desk: ConsoleState, name: str, words: Words, row: Mapping[str, Any]) -> Preview:
    """What every act on a backend shows: how it stands, and what waits for it."""
    found = await backend_queries.backlog(desk.engine, name)
    facts = [
        (words.gettext("Backend"), name),
        (words.gettext(N_("Holds it now")), backend_queries.in_words(row, words)),
        (words.gettext(N_("Circuit")), words.gettext(backend_queries.CIRCUITS[row["circuit"]])),
        *backend_queries.waiting_facts(found, words),
    ]
    sees = backend_queries.digest_of(row["paused"], row["quarantined"], row["quarantined_at"], row["rate"])
    exact = found["orders"] if found["orders"] < backend_queries.MOST else None
    return Preview(exact, facts, found["sample"], backend_queries.columns(words), sees)


def _with(preview: Preview, hindered: str | None = None, warning: str | None = None, sees: str = "") -> Preview:
    return Preview(
        preview.orders, preview.facts, preview.sample, preview.columns, sees or preview.sees, hindered, warning
    )


async def _by_whom(desk: ConsoleState, name: str, act: str, sentence: str, words: Words) -> str:
    """`sentence`, and who did that, when and why."""
    row = await backend_queries.did_last(desk.engine, name, act)
    if row is None:
        return words.gettext(sentence)
    told = words.gettext(N_("{what} {who} did that at {when}: {why}"))
    why = row.reason or words.gettext(N_("no reason given"))
    return told.format(what=words.gettext(sentence), who=row.operator, when=words.moment(row.at), why=why)


async def _look_pause(desk: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row = await backend_queries.of_backend(desk, chosen["backend"])
    preview = await _holding(desk, row["name"], words, row)
    if row["paused"]:
        return _with(preview, await _by_whom(desk, row["name"], "pause", N_("It is paused already."), words))
    return _with(preview, warning=words.gettext(N_("Nothing is forwarded until somebody resumes. Intake goes on.")))


async def _look_resume(desk: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row = await backend_queries.of_backend(desk, chosen["backend"])
    preview = await _holding(desk, row["name"], words, row)
    if not row["paused"]:
        return _with(preview, await _by_whom(desk, row["name"], "resume", N_("It is not paused."), words))
    held = words.gettext(N_("It stays in quarantine: nothing is forwarded before it is released."))
    return _with(preview, warning=held if row["quarantined"] else None)


async def _look_rate(desk: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row = await backend_queries.of_backend(desk, chosen["backend"])
    preview = await _holding(desk, row["name"], words, row)
    facts = [
        *preview.facts,
        (words.gettext(N_("Orders a second at most, now")), _cap(row["rate"], words)),
        (words.gettext(N_("Orders a second at most, then")), _cap(chosen["rate"], words)),
    ]
    return Preview(preview.orders, facts, preview.sample, preview.columns, preview.sees)


def _cap(rate: float | None, words: Words) -> str:
    return words.gettext(N_("no cap")) if rate is None else words.number(rate, 2)


async def _look_quarantine(desk: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    row = await backend_queries.of_backend(desk, chosen["backend"])
    preview = await _holding(desk, row["name"], words, row)
    if row["quarantined"]:
        told = words.gettext(N_("It is in quarantine already, by {who}: {why}"))
        return _with(preview, told.format(who=row["quarantined_by"], why=say(row["held_why"], words)))
    warning = words.gettext(N_("Nothing is sent to it until it is released, not even a canary. Intake goes on."))
    return _with(preview, warning=warning)


async def _judged(desk: ConsoleState, name: str, words: Words, four_eyes: bool) -> Preview:
    """What a release, or a proposal of one, is judged by; `four_eyes` is what the act is for."""
    row = await backend_queries.of_backend(desk, name)
    found = await backend_queries.seen(desk.engine, name) if row["quarantined"] else None
    if found is None:
        preview = await _holding(desk, name, words, row)
        return _with(preview, await _by_whom(desk, name, "release", N_("It is not in quarantine."), words))
    waiting = await backend_queries.backlog(desk.engine, name)
    facts = [
        (words.gettext("Backend"), name),
        *backend_queries.snapshot_facts(found, words),
        *backend_queries.waiting_facts(waiting, words),
    ]
    hindered = None
    if desk.settings.four_eyes and not four_eyes:
        hindered = words.gettext(N_("A release takes two here: propose it, and another person approves it."))
    elif four_eyes and not desk.settings.four_eyes:
        hindered = words.gettext(N_("A release takes one person here: release it."))
    exact = waiting["orders"] if waiting["orders"] < backend_queries.MOST else None
    warning = words.gettext(N_("Orders will go to it again: one canary first, then more and more."))
    return Preview(exact, facts, waiting["sample"], backend_queries.columns(words), found["digest"], hindered, warning)


async def _look_release(desk: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    return await _judged(desk, chosen["backend"], words, four_eyes=False)


async def _look_propose(desk: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    return await _judged(desk, chosen["backend"], words, four_eyes=True)


async def _look_approve(desk: ConsoleState, chosen: Chosen, words: Words) -> Preview:
    """The very snapshot that was proposed, and what is against approving it."""
    name = chosen["backend"]
    row = await backend_queries.of_backend(desk, name)
    now = await backend_queries.seen(desk.engine, name) if row["quarantined"] else None
    if now is None:
        preview = await _holding(desk, name, words, row)
        return _with(preview, await _by_whom(desk, name, "release", N_("It is not in quarantine."), words))
    found = await backend_queries.proposals(desk.engine, name, row["quarantined_at"], limit=50)
    proposal = next((each for each in found if each["detail"].get("digest") == chosen["digest"]), None)
    if proposal is None:
        raise NotFound("nobody proposed that since it is in quarantine")
    facts = [
        (words.gettext("Backend"), name),
        (words.gettext(N_("Proposed by")), proposal["operator"]),
        (words.gettext(N_("Proposed at")), words.moment(proposal["at"])),
        (words.gettext(N_("Their reason")), proposal["reason"] or ""),
        *backend_queries.snapshot_facts(proposal["detail"], words),
        (words.gettext(N_("Orders that waited then")), words.number(proposal["detail"].get("backlog"))),
    ]
    warning = words.gettext(N_("Orders will go to it again: one canary first, then more and more."))
    hindered = _against(proposal, now, chosen, words)
    return Preview(None, facts, sees=now["digest"], hindered=hindered, warning=warning)


def _against(proposal: Mapping[str, Any], now: Mapping[str, Any], chosen: Chosen, words: Words) -> str | None:
    if now["digest"] != chosen["digest"]:
        told = words.gettext(N_("It is not as {who} saw it any more: look at it and propose it again."))
        return told.format(who=proposal["operator"])
    if proposal["operator"] == operations.operator():
        return words.gettext(N_("You proposed it: another person has to approve it."))
    return None


async def _pause(desk: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await operations.pause(desk.engine, desk.settings, chosen["backend"], reason, first=True)
    return {"backend": chosen["backend"], "standing": N_("paused")}


async def _resume(desk: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await operations.resume(desk.engine, desk.settings, chosen["backend"], reason, first=True)
    return {"backend": chosen["backend"], "standing": N_("resumed")}


async def _rate(desk: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await commands.limit(desk.engine, chosen["backend"], chosen["rate"], reason)
    return {"backend": chosen["backend"], "rate": OFF if chosen["rate"] is None else chosen["rate"]}


async def _quarantine(desk: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await quarantine.quarantine(desk.engine, desk.settings, chosen["backend"], reason)
    return {"backend": chosen["backend"], "standing": N_("in quarantine")}


async def _release(desk: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    if desk.settings.four_eyes:
        raise NotSo("a release takes two operators here")
    await quarantine.release(desk.engine, chosen["backend"], reason, running.sees)
    return {"backend": chosen["backend"], "standing": N_("released")}


async def _propose(desk: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    seen = await quarantine.propose(desk.engine, chosen["backend"], reason, running.sees)
    return {"backend": chosen["backend"], "standing": N_("release proposed"), "digest": seen["digest"]}


async def _approve(desk: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
    await quarantine.approve(desk.engine, chosen["backend"], chosen["digest"], reason)
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
        _look_release,
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
        _look_propose,
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
