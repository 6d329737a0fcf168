"""The console put together: its rooms, its guards, its static files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from config.settings import Settings
from workers.console.access import pages as access
from workers.console.access.guard import Doorkeeper
from workers.console.access.oidc import Provider
from workers.console.access.state import AccessState
from workers.console.acts import pages as acts
from workers.console.acts.runner import Runner
from workers.console.dead import pages as dead
from workers.console.error_pages import add_handlers
from workers.console.journal_timeout import JournalTimeout
from workers.console.live.poller import Poller
from workers.console.live.series import Series
from workers.console.orders import pages as orders
from workers.console.overview import pages as overview
from workers.console.overview.fragments import Board
from workers.console.overview.state import OverviewState
from workers.console.recovery import pages as recovery
from workers.console.registry import ACTS
from workers.console.report import pages as report
from workers.console.search import pages as search
from workers.console.security_headers import Shield
from workers.console.state import ConsoleState

ROOMS = (access, overview, acts, recovery, dead, orders, search, report)


def create_app(settings: Settings) -> FastAPI:
    """The application on `database_url`; connects when it starts to serve. Raises MissingSetting."""
    settings.need("database_url")
    Provider.of(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state = app.state.console = ConsoleState.open(settings)
        poller = Poller(settings)
        app.state.access = AccessState.open(settings, state.engine)
        app.state.overview = OverviewState(poller, Board(poller, state.pages), Series(state.engine))
        app.state.acts = Runner(state, ACTS)
        app.state.acts.begin()
        try:
            async with poller.running():
                yield
        finally:
            await app.state.acts.close()
            app.state.access.logins.passwords.close()
            await state.engine.dispose()

    app = FastAPI(title="Relais console", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(packages=[("workers.console", "static")]))
    app.add_api_route("/healthz", get_health, methods=["GET"], include_in_schema=False)
    for room in ROOMS:
        app.include_router(room.router)
    add_handlers(app)
    app.state.end_streams = partial(_end_streams, app)
    app.add_middleware(JournalTimeout)
    app.add_middleware(Doorkeeper)
    app.add_middleware(Shield)
    return app


async def _end_streams(app: FastAPI) -> None:
    """End what would never end by itself, before a server that stops waits for it."""
    app.state.console.stopping.set()


async def get_health() -> Response:
    """Alive, whatever the stores do."""
    return JSONResponse({"status": "ok"})
