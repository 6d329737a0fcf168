"""The pages of dead letters: the groups by cause, most orders first; a group's orders; what operators noted on it.

An order is what the pharmacy sent: it is put through again or given up, never edited. The ERP's own words are shown
as the cause has them, without numbers and quoted values; an order's page has them whole, for who asks.
"""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from config.settings.routes_file import load_backends
from orders.errors import Fault, Malformed
from orders.queries import causes as cause_queries
from orders.queries.causes import LONGEST_NOTE
from orders.states import Reason
from workers.console import cursors
from workers.console.access.guard import Operator, Viewer
from workers.console.dead.acts import cause_of
from workers.console.i18n import N_
from workers.console.rendering import page
from workers.console.state import AtDesk

router = APIRouter()

GROUPS: Final = 100  # of a page
MEMBERS: Final = 50
REASONS: Final = {
    Reason.INVALID: N_("invalid"),
    Reason.EXPIRED: N_("expired"),
    Reason.REFUSED: N_("refused"),
    Reason.EXHAUSTED: N_("exhausted"),
    Reason.STALE: N_("stale"),
}


@router.get("/dead")
async def get_groups(
    request: Request,
    who: Viewer,
    desk: AtDesk,
    reason: Reason | None = None,
    backend: str | None = None,
    after: str | None = None,
) -> Response:
    """The causes that orders stand dead of."""
    known = list(load_backends(desk.settings))
    if backend is not None and (len(backend) > 100 or not backend.isprintable()):
        raise Malformed([Fault("backend", None, "is no name of a backend")])
    place = f"/dead?reason={reason or ''}&backend={backend or ''}"
    before = cause_queries.FIRST if after is None else _place(cursors.open(desk, place, after))
    async with desk.engine.connect() as connection:
        found = await cause_queries.groups(connection, reason=reason, backend=backend, before=before, limit=GROUPS + 1)
        total = await cause_queries.total(connection)
    last = found[GROUPS - 1] if len(found) > GROUPS else None
    more = cursors.seal(desk, place, [last["orders"], last["id"]]) if last else None
    return page(
        request,
        "dead/groups.html",
        groups=found[:GROUPS],
        total=total,
        reasons=list(REASONS),
        backends=known,
        reason=reason,
        backend=backend,
        more=more,
        first=after is None,
    )


@router.get("/dead/{cause}")
async def get_group(request: Request, who: Viewer, desk: AtDesk, cause: str, after: str | None = None) -> Response:
    """The orders that stand dead of a cause, and the notes on it."""
    number = cause_of(cause)
    place = f"/dead/{number}"
    came = None if after is None else _member(cursors.open(desk, place, after))
    async with desk.engine.connect() as connection:
        group = await cause_queries.group(connection, number)
        found = await cause_queries.members(connection, number, after=came, limit=MEMBERS + 1)
        noted = await cause_queries.notes(connection, number)
    last = found[MEMBERS - 1] if len(found) > MEMBERS else None
    more = cursors.seal(desk, place, [last["settled_at"].isoformat(), str(last["id"])]) if last else None
    return page(
        request,
        "dead/group.html",
        group=group,
        members=found[:MEMBERS],
        notes=noted,
        more=more,
        before=group["shown_at"].isoformat(),
        longest=LONGEST_NOTE,
    )


@router.post("/dead/{cause}/notes")
async def post_note(request: Request, who: Operator, desk: AtDesk, cause: str) -> Response:
    """Tell the next shift."""
    words = _words((await request.form()).get("words"))
    async with desk.engine.connect() as connection:
        number = (await cause_queries.group(connection, cause_of(cause)))["id"]
        await cause_queries.note(connection, number, who.name, words)
    return RedirectResponse(f"/dead/{number}#notes", status_code=303)


def _words(given: Any) -> str:
    """A note: lines are kept, other control characters are not. Raises Malformed."""
    text = given if isinstance(given, str) else ""
    lines = text.replace("\r\n", "\n").strip()
    if not 1 <= len(lines) <= LONGEST_NOTE:
        raise Malformed([Fault("words", None, f"must have 1 to {LONGEST_NOTE} characters")])
    if any(unicodedata.category(each) in ("Cc", "Cf", "Cs") for each in lines if each not in "\n\t"):
        raise Malformed([Fault("words", None, "must not hold control characters")])
    return lines


def _place(values: list[Any]) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _member(values: list[Any]) -> tuple[datetime, UUID]:
    return datetime.fromisoformat(values[0]), UUID(values[1])
