"""The overview and what keeps it live: everything comes from the pulse and the samples, no request reads an order."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from orders.errors import Busy
from workers.console.access.guard import Viewer
from workers.console.access.sessions import COOKIE, Unasked
from workers.console.live.series import SPANS, columns
from workers.console.live.stream import Stream
from workers.console.overview.fragments import frame
from workers.console.rendering import page, words_of
from workers.console.state import AtDesk

router = APIRouter()

Span = Annotated[Literal["1h", "6h", "24h", "7d"], Query()]


@router.get("/")
async def get_overview(request: Request, desk: AtDesk, who: Viewer, span: Span = "1h") -> Response:
    """How Relais stands, whole without any script."""
    _, found = await asyncio.gather(desk.pulse.fresh(), desk.series.get(span, out=desk.pulse.silent()))
    parts = desk.board.parts(words_of(request).code, who.role)
    return page(
        request,
        "overview/overview.html",
        parts=parts,
        span=span,
        spans=list(SPANS),
        points=found,
        zone=desk.settings.console_time_zone,
    )


@router.get("/live/overview")
async def get_live_overview(request: Request, desk: AtDesk, who: Viewer) -> Response:
    """The parts that change, as they do."""
    language, token = words_of(request).code, request.cookies.get(COOKIE)
    session = who.csrf  # tells sessions apart, and gives none away
    try:
        desk.streams.check(session)
    except Busy:
        return Response(status_code=503, headers={"Retry-After": "10"})

    async def alive() -> bool:
        try:
            return await desk.sessions.find(token) is not None
        except Unasked:
            return True  # until somebody can say

    last = frame({"now": desk.pages.fragment(language, "overview/_over.html")})
    return Stream(
        desk.pulse,
        desk.stopping,
        lambda seen: desk.board.news(language, who.role, seen),
        alive,
        last,
        lambda: desk.streams.one_more(session),
    )


@router.get("/live/stores")
async def get_stores(request: Request, desk: AtDesk, who: Viewer) -> Response:
    """The part of every page that says which store is out."""
    desk.pulse.touch()
    return HTMLResponse(desk.board.stores(words_of(request).code))


@router.get("/live/series")
async def get_series(desk: AtDesk, who: Viewer, span: Span = "1h") -> Response:
    """What the charts draw, a list for each figure: times in s since 1970, orders a minute, orders, seconds."""
    found = await desk.series.get(span, out=desk.pulse.silent())
    return JSONResponse({"span": span, "step": SPANS[span] / 360, **columns(found)})
