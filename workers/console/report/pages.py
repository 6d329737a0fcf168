"""The pages of the incident report: choose a span, look at what was made of it, take it along.

A report reads the whole journal, so that making one is an act; what is made is kept a while and read from there.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from markupsafe import Markup
from sqlalchemy import text

from orders.errors import NotFound
from orders.journal import unreachable
from orders.refusals import NotDone
from orders.schema.tables.erps import UNENDED
from orders.sentences import Sentence
from orders.states import CircuitState
from workers.console.access.guard import Viewer
from workers.console.rendering import page, words_of
from workers.console.report import operations, spans
from workers.console.report.labels import LAST, SPANS, THIS
from workers.console.report.store import ReportStore, drawn, read, sections
from workers.console.report.voice import on_page
from workers.console.state import AppState, ConsoleState
from workers.proof.report.report_model import KINDS
from workers.proof.report.timeline import timeline
from workers.proof.report.voice import cell, tabled

router = APIRouter()
router.include_router(operations.router)

# The report is a page of its own: whatever is in it, it is not the console, and acts on nothing.
APART: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
TYPES: Final = {"html": "text/html; charset=utf-8", "pdf": "application/pdf"}
TROUBLE: Final = text(f"""
SELECT (SELECT min(coalesce(succeeded_at, changed_at)) FROM backends
    WHERE circuit <> '{CircuitState.CLOSED}' OR paused OR quarantined) AS held,
  (SELECT min(began_at) FROM outages WHERE {UNENDED}) AS out, last.began_at, last.ended_at
FROM (SELECT) one LEFT JOIN (SELECT * FROM outages ORDER BY id DESC LIMIT 1) last ON true
""")
BESIDE: Final = spans.MINUTE
ELSE: Final = timedelta(days=1)  # what is proposed when nothing is chosen


@router.get("/report")
async def get_report(
    request: Request,
    state: AppState,
    who: Viewer,
    since: Annotated[str, Query(max_length=40)] = "",
    until: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Choose a span; the reports that were made here."""
    zone, now = state.settings.console.time_zone, datetime.now(UTC)
    begins, ends = spans.span(spans.choose({"since": since, "until": until}), zone)
    trouble = await _trouble(state)
    quick = [(name, spans.local(now - span, zone), "") for name, span in SPANS]
    if trouble is not None:
        quick.insert(0, (THIS if trouble[1] is None else LAST, *_around(*trouble, zone)))
        begins, ends = begins or (trouble[0] - BESIDE), ends or (None if begins else trouble[1] and trouble[1] + BESIDE)
    return page(
        request,
        "report/report.html",
        since=spans.local(begins or now - ELSE, zone),
        until=spans.local(ends, zone, up=True) if ends else "",
        quick=quick,
        made=[_dated(each) for each in await asyncio.to_thread(ReportStore(state.settings.files.data_dir).all)],
    )


@router.get("/report/{name}")
async def get_made(
    request: Request, state: AppState, who: Viewer, name: str, look: Annotated[bool, Query()] = False
) -> Response:
    """A report that was made: its page, or with .html or .pdf its file in the reader's language."""
    report, _, kind = name.partition(".")
    if kind:
        return await _file(state, report, kind, words_of(request).code, look=look)
    found = await asyncio.to_thread(ReportStore(state.settings.files.data_dir).page, report)
    if found is None:
        raise NotFound(Sentence(NotDone.NO_REPORT))
    voice = on_page(words_of(request), state.settings.console.time_zone)
    told = {
        "head": _dated(found["head"]),
        **{name: [cell(each, voice) for each in found[name]] for name in ("faults", "remarks")},
        "verdict": cell(found["verdict"], voice),
        "tables": [tabled(each, voice) for each in sections(found)],
        "seals": [(voice.heading(name), cell(value, voice)) for name, value in read(found["seals"]).items()],
        **{part: [(voice.heading(name), count) for name, count in found[part].items()] for part in ("span", "ledger")},
    }
    # The drawing is ours; whatever came from outside is escaped in it.
    svg = Markup(timeline(drawn(found), voice))
    return page(request, "report/made.html", report=report, made=told, svg=svg, kinds=KINDS)


async def _file(state: ConsoleState, report: str, kind: str, language: str, *, look: bool) -> Response:
    store = ReportStore(state.settings.files.data_dir)
    path = await asyncio.to_thread(store.file, report, f"{language}.{kind}") if kind in TYPES else None
    if path is None:
        raise NotFound(Sentence(NotDone.NO_REPORT))
    answer = FileResponse(
        path,
        media_type=TYPES[kind],
        filename=f"relais-report-{report[:8]}.{kind}",
        content_disposition_type="inline" if look else "attachment",
    )
    answer.headers["Content-Security-Policy"] = APART
    return answer


async def _trouble(state: ConsoleState) -> tuple[datetime, datetime | None] | None:
    """Since when some backend takes nothing, with None; else the last outage's beginning and end. None before any."""
    try:
        async with state.engine.connect() as connection:
            row = (await connection.execute(TROUBLE)).one()
    except Exception as error:
        if not unreachable(error):
            raise
        return None  # the reports that were made can be had without the journal
    if since := min(filter(None, (row.held, row.out)), default=None):
        return since, None
    return (row.began_at, row.ended_at) if row.began_at else None


def _around(since: datetime, until: datetime | None, zone: str) -> tuple[str, str]:
    """With a minute on either side at least: attempts that were under way as an outage ended fail after it."""
    return spans.local(since - BESIDE, zone), "" if until is None else spans.local(until + BESIDE, zone, up=True)


def _dated(head: dict[str, Any]) -> dict[str, Any]:
    return head | {name: datetime.fromisoformat(head[name]) for name in ("since", "until", "at")}
