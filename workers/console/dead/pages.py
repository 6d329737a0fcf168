"""The pages of dead letters: the groups by cause, most orders first; a group's orders; what operators noted on it.

An order is what the pharmacy sent: it is put through again or given up, never edited. The ERP's own words are masked
as everywhere: what sets causes apart may name a patient. An order's page has them, for who asks.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Final
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from config.settings.routes_file import load_backends
from orders.journal import snapshot
from orders.queries import causes as cause_queries
from orders.queries import mappings
from orders.queries.causes import LONGEST_NOTE
from orders.refusals import NotDone
from orders.sentences import Sentence
from orders.states import Reason
from workers.console import fields as read
from workers.console.access.guard import Operator, Viewer
from workers.console.i18n import N_
from workers.console.labels import NEVER
from workers.console.masking import cause as cause_of
from workers.console.rendering import page, words_of
from workers.console.state import AppState

router = APIRouter()

GROUPS: Final = 100  # of a page
ATTEMPTED: Final = (Reason.REFUSED, Reason.EXHAUSTED)  # of which no code is kept: an attempt says why
MEMBERS: Final = 50
CODES: Final = 100  # that are not mapped
REASONS: Final = {
    Reason.INVALID: N_("invalid"),
    Reason.EXPIRED: N_("expired"),
    Reason.REFUSED: N_("refused"),
    Reason.EXHAUSTED: N_("exhausted"),
    Reason.STALE: N_("stale"),
    Reason.CONFLICT: N_("conflict"),
    Reason.UNMAPPED: N_("unmapped"),
}


@router.get("/dead")
async def get_groups(
    request: Request,
    who: Viewer,
    state: AppState,
    reason: Reason | None = None,
    backend: str | None = None,
    after: str | None = None,
) -> Response:
    """The causes that orders stand dead of."""
    known, words = list(load_backends(state.settings)), words_of(request)
    backend = read.gather({"backend": backend or ""}, {}, {"backend": read.backend}).get("backend")
    place = f"/dead?reason={reason or ''}&backend={backend or ''}"
    before = state.cursors.read(place, after, int, int) or cause_queries.FIRST
    async with snapshot(state.engine) as connection:
        found = await cause_queries.groups(connection, reason=reason, backend=backend, before=before, limit=GROUPS + 1)
        ours = [group["id"] for group in found if group["reason"] not in ATTEMPTED]
        codes = await cause_queries.codes(connection, ours)
        total = await cause_queries.total(connection)
    groups, more = state.cursors.cut(place, found, GROUPS, lambda row: [row["orders"], row["id"]])
    return page(
        request,
        "dead/groups.html",
        groups=[{**group, "message": cause_of(group, words, codes.get(group["id"]))} for group in groups],
        total=total,
        reasons=list(REASONS),
        backends=known,
        reason=reason,
        backend=backend,
        more=more,
        first=after is None,
    )


@router.get("/dead/{cause}")
async def get_group(request: Request, who: Viewer, state: AppState, cause: str, after: str | None = None) -> Response:
    """The orders that stand dead of a cause, and the notes on it."""
    number = _cause(cause)
    place = f"/dead/{number}"
    came = state.cursors.read(place, after, datetime.fromisoformat, UUID)
    async with snapshot(state.engine) as connection:
        group = await cause_queries.group(connection, number)
        found = await cause_queries.members(connection, number, after=came, limit=MEMBERS + 1)
        codes = await cause_queries.codes(connection, [number])
        noted = await cause_queries.notes(connection, number)
        unmapped = group["reason"] == Reason.UNMAPPED
        missing = await mappings.missing_in(connection, number, CODES) if unmapped else None
    members, more = state.cursors.cut(
        place, found, MEMBERS, lambda row: [row["settled_at"].isoformat(), str(row["id"])]
    )
    return page(
        request,
        "dead/group.html",
        group={**group, "message": cause_of(group, words_of(request), codes.get(number))},
        members=members,
        notes=noted,
        missing=missing,
        more=more,
        before=group["shown_at"].isoformat(),
        longest=LONGEST_NOTE,
        never=group["reason"] in NEVER,
        lost=group["reason"] == Reason.CONFLICT,
    )


@router.post("/dead/{cause}/notes")
async def post_note(request: Request, who: Operator, state: AppState, cause: str) -> Response:
    """Tell the next shift."""
    words = read.text_of(await request.form(), "words", most=2 * LONGEST_NOTE)
    noted = read.gather({"words": words}, {"words": _note})["words"]
    async with state.engine.connect() as connection:
        number = (await cause_queries.group(connection, _cause(cause)))["id"]
        await cause_queries.note(connection, number, who.name, noted)
    return RedirectResponse(f"/dead/{number}#notes", status_code=303)


def _cause(given: str) -> int:
    return int(read.gather({"cause": given}, {"cause": read.number})["cause"])


def _note(given: str) -> str:
    """Lines are kept, other control characters are not."""
    lines = given.replace("\r\n", "\n")
    if len(lines) > LONGEST_NOTE:
        raise ValueError(Sentence(NotDone.MOST_CHARACTERS, most=LONGEST_NOTE))
    if any(unicodedata.category(each) in ("Cc", "Cf", "Cs") for each in lines if each not in "\n\t"):
        raise ValueError(Sentence(NotDone.HOLDS_CONTROLS))
    return lines
