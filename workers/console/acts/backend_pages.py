"""The page of a backend: how it stands, what speaks against it, who proposed its release, what was done with it.

Every act on it begins here. Evidence is told by kind, time and order; its words stay out, since an ERP's free text
may name a patient.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.journal import snapshot
from workers.console.access.guard import Viewer
from workers.console.acts import backend_queries
from workers.console.i18n import Words
from workers.console.rendering import page, words_of
from workers.console.state import AppState

router = APIRouter()
PAGE_OPERATIONS = 25  # operations of a page
PIECES = 20  # of evidence


@router.get("/backend/{name}")
async def get_backend(request: Request, name: str, who: Viewer, state: AppState, after: str | None = None) -> Response:
    """How a backend stands, and what can be done with it."""
    words = words_of(request)
    before = state.cursors.read(f"backend {name}", after, datetime.fromisoformat, int)
    async with snapshot(state.engine) as connection:
        row = await backend_queries.of_backend(connection, state.settings, name)
        kinds, pieces = await backend_queries.evidence(connection, name, PIECES)
        now = await backend_queries.seen(connection, name) if row["quarantined"] else None
        waits = await backend_queries.waiting(connection, name)
        found = await backend_queries.history(connection, name, PAGE_OPERATIONS + 1, before)
        proposals = await _proposals(connection, row, now, words)
    history, more = state.cursors.cut(
        f"backend {name}", found, PAGE_OPERATIONS, lambda each: [each["at"].isoformat(), each["id"]]
    )
    return page(
        request,
        "acts/backend.html",
        row=row,
        circuit=backend_queries.CIRCUITS[row["circuit"]],
        holds=backend_queries.in_words(row, words),
        waiting=backend_queries.waiting_facts(waits, words),
        kinds=kinds,
        pieces=pieces,
        history=history,
        more=more and f"/backend/{quote(name)}?after={more}",
        proposals=proposals,
        four_eyes=state.settings.trust.four_eyes,
        snapshot=backend_queries.snapshot_facts(now, words) if now else [],
    )


async def _proposals(
    connection: AsyncConnection, row: dict[str, Any], now: dict[str, Any] | None, words: Words
) -> list[dict[str, Any]]:
    """The proposals of this quarantine, each with its snapshot, and whether all is still as it was seen."""
    found = await backend_queries.proposals(connection, row["name"], row["quarantined_at"])
    return [
        {
            **each,
            "digest": each["detail"].get("digest", ""),
            "current": now is not None and each["detail"].get("digest") == now["digest"],
            "facts": backend_queries.snapshot_facts(each["detail"], words),
        }
        for each in found
    ]
