"""The pages of the room `overview`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from workers.console.access.guard import Viewer
from workers.console.rendering import page

router = APIRouter()


@router.get("/")
async def get_overview(request: Request, who: Viewer) -> Response:
    """How Relais stands."""
    return page(request, "overview/overview.html")
