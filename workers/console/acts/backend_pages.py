"""The page of a backend: how it stands, what speaks against it, who proposed its release, what was done with it.

Every act on it begins here. Evidence is told by kind, time and order; its words stay out, since an ERP's free text
may name a patient.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from workers.console import cursors
from workers.console.access.guard import Viewer
from workers.console.acts import backend_queries
from workers.console.i18n import Words
from workers.console.rendering import page, words_of
from workers.console.state import AtDesk, ConsoleState

router = APIRouter()
SHOWN = 25  # operations of a page
PIECES = 20  # of evidence


@router.get("/backend/{name}")
async def get_backend(request: Request, name: str, who: Viewer, desk: AtDesk, after: str | None = None) -> Response:
    """How a backend stands, and what can be done with it."""
    words = words_of(request)
    row = await backend_queries.of_backend(desk, name)
    kinds, pieces = await backend_queries.evidence(desk.engine, name, PIECES)
    now = await backend_queries.seen(desk.engine, name) if row["quarantined"] else None
    found = await backend_queries.history(desk.engine, name, SHOWN + 1, _place(desk, name, after))
    more = f"/backend/{quote(name)}?after={_after(desk, name, found[SHOWN - 1])}" if len(found) > SHOWN else None
    return page(
        request,
        "acts/backend.html",
        row=row,
        circuit=backend_queries.CIRCUITS[row["circuit"]],
        holds=backend_queries.in_words(row, words),
        kinds=kinds,
        pieces=pieces,
        history=found[:SHOWN],
        more=more,
        proposals=await _proposals(desk, row, now, words),
        four_eyes=desk.settings.four_eyes,
        snapshot=backend_queries.snapshot_facts(now, words) if now else [],
    )


async def _proposals(
    desk: ConsoleState, row: dict[str, Any], now: dict[str, Any] | None, words: Words
) -> list[dict[str, Any]]:
    """The proposals of this quarantine, each with its snapshot, and whether all is still as it was seen."""
    found = await backend_queries.proposals(desk.engine, row["name"], row["quarantined_at"])
    return [
        {
            **each,
            "digest": each["detail"].get("digest", ""),
            "current": now is not None and each["detail"].get("digest") == now["digest"],
            "facts": backend_queries.snapshot_facts(each["detail"], words),
        }
        for each in found
    ]


def _place(desk: ConsoleState, name: str, after: str | None) -> tuple[datetime, int] | None:
    if after is None:
        return None
    at, number = cursors.open(desk, f"backend {name}", after)
    return datetime.fromisoformat(at), int(number)


def _after(desk: ConsoleState, name: str, row: dict[str, Any]) -> str:
    return cursors.seal(desk, f"backend {name}", [row["at"].isoformat(), row["id"]])
