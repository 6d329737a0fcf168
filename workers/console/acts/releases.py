"""The acts that end a quarantine, as `relais release` does.

Each is bound to what the person saw. With RELAIS_FOUR_EYES a release takes two: one proposes what they see, and another
approves that very snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
from workers.console.acts.act import Act, Chosen, Preview, Running
from workers.console.acts.backends import TOLD, by_whom, choose, look
from workers.console.i18n import N_, Words
from workers.console.state import ConsoleState
from workers.trust import quarantine

DIGEST: Final = re.compile("[0-9a-f]{64}")

NOT_QUARANTINED: Final = N_("It is not in quarantine.")
GOES_AGAIN: Final = N_("Orders will go to it again: one canary first, then more and more.")
TAKES_TWO: Final = N_("A release takes two here: propose it, and another person approves it.")
TAKES_ONE: Final = N_("A release takes one person here: release it.")


def _choose_digest(fields: Mapping[str, str]) -> Chosen:
    return read.gather(fields, {"backend": read.backend, "digest": _digest_of})


def _digest_of(given: str) -> str:
    if not DIGEST.fullmatch(given):
        raise ValueError(Sentence(NotDone.PROPOSAL))
    return given


async def _judged(
    state: ConsoleState, chosen: Chosen, words: Words
) -> tuple[backend_queries.Row, Preview, backend_queries.Row | None]:
    """As `_look`, and what a release is judged by; None, and the preview hindered, outside of quarantine."""
    row, preview = await look(state, chosen, words)
    if row["quarantined"] and (now := await backend_queries.seen(state.engine, row["name"])):
        return row, replace(preview, sees=now["digest"], warning=words.gettext(GOES_AGAIN)), now
    hindered = await by_whom(state, row["name"], "release", NOT_QUARANTINED, words)
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
    Act(
        "release",
        N_("Release a backend from quarantine"),
        N_("Release it"),
        Role.APPROVER,
        choose,
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
        choose,
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
