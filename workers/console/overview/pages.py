"""The overview and what keeps it live: everything comes from the poller and the samples, no request reads an order."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from orders.errors import Busy
from workers.console.access.guard import Viewer
from workers.console.access.sessions import COOKIE, Unasked
from workers.console.access.state import Access
from workers.console.live.series import SPANS, columns
from workers.console.live.stream import Stream
from workers.console.overview.fragments import frame
from workers.console.overview.state import Overview
from workers.console.rendering import page, words_of
from workers.console.state import AppState

router = APIRouter()

Span = Annotated[Literal["1h", "6h", "24h", "7d"], Query()]


@router.get("/")
async def get_overview(
    request: Request, state: AppState, overview: Overview, who: Viewer, span: Span = "1h", *, figures: bool = False
) -> Response:
    """How Relais stands; with `figures` the charts as a table, which a script makes itself."""
    await overview.poller.fresh()
    found = await overview.series.get(span, out=overview.poller.silent()) if figures else []
    parts = overview.board.parts(words_of(request).code, who.role)
    return page(
        request,
        "overview/overview.html",
        parts=parts,
        span=span,
        spans=list(SPANS),
        points=found,
    )


@router.get("/live/overview")
async def get_live_overview(
    request: Request, state: AppState, overview: Overview, access: Access, who: Viewer
) -> Response:
    """The parts that change, as they do."""
    language, token = words_of(request).code, request.cookies.get(COOKIE)
    session = who.csrf  # tells sessions apart, and gives none away
    try:
        overview.streams.check(session)
    except Busy:
        return Response(status_code=503, headers={"Retry-After": "10"})

    async def alive() -> bool:
        try:
            return await access.sessions.find(token) is not None
        except Unasked:
            return True  # until somebody can say

    last = frame({"now": state.pages.fragment(language, "overview/_over.html")})
    return Stream(
        overview.poller,
        state.stopping,
        lambda seen: overview.board.news(language, who.role, seen),
        alive,
        last,
        lambda: overview.streams.one_more(session),
    )


@router.get("/live/stores")
async def get_stores(request: Request, overview: Overview, who: Viewer) -> Response:
    """The part of every page that says which store is out."""
    overview.poller.touch()
    return HTMLResponse(overview.board.stores(words_of(request).code))


@router.get("/live/series")
async def get_series(overview: Overview, who: Viewer, span: Span = "1h") -> Response:
    """What the charts draw, a list for each figure: times in s since 1970, orders a minute, orders, seconds."""
    found = await overview.series.get(span, out=overview.poller.silent())
    return JSONResponse({"span": span, "step": SPANS[span] / 360, **columns(found)})
