"""The intake's HTTP face, put together: which request goes where, and the document that describes it all.

What has to be fast or streams goes past FastAPI's routing and middleware, which would cost more than everything that
is done for an order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from config.settings import Settings
from config.telemetry import traces
from orders.api.connection.http_connection import HEALTH
from orders.api.metrics import CONTENT_TYPE
from orders.api.openapi.document import add_routes, document
from orders.api.reference import add_pages
from orders.api.request import address_of, read_headers
from orders.api.responses import PROBLEM_JSON, answer_problem, describe
from orders.api.routes.get_events import get_events, is_events
from orders.api.routes.post_batch import post_batch
from orders.api.routes.post_order import post_order
from orders.api.routes.post_pharmaml import post_pharmaml
from orders.api.state import ApiState, Parts
from orders.api.tracing import serve_traced
from orders.errors import Busy, JournalDown, RelaisError
from orders.intake.store_switch import Mode

FIRST_LOOK: Final = 0.5  # seconds that a start waits to know which store takes orders

DIRECT: Final = {
    ("POST", "/orders"): post_order,
    ("POST", "/orders/batch"): post_batch,
    ("POST", "/pharmaml"): post_pharmaml,
}

ALONE: Final = {"/orders/batch": "POST", "/pharmaml": "POST"}  # whose only method is not FastAPI's


class Api:
    """The application, as ASGI; connects when it starts serving."""

    def __init__(self, settings: Settings, parts: Parts) -> None:
        """Needs `database_url`."""
        self._app = _create_fastapi(settings, parts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, path, api = scope["method"], scope["path"], self._app.state.api
        if (direct := DIRECT.get((method, path))) is not None:
            serve = partial(serve_traced, direct) if traces.on() else direct
            await serve(api, scope, receive, send)
        elif method == "GET" and is_events(path):
            await get_events(api, scope, receive, send)
        elif path in ALONE or is_events(path):
            refusal = HTTPException(405, headers={"Allow": ALONE.get(path, "GET")})
            await answer_problem(send, refusal, read_headers(scope).request_id)
        elif "\0" in path:  # which nothing goes by
            await answer_problem(send, HTTPException(404), read_headers(scope).request_id)
        elif path in HEALTH:
            await self._app(scope, receive, _counted(api, scope, send))
        else:
            await self._read(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is no order, or takes one back: in turns, since it costs more than an order and is in less haste."""
        api, asked, client = self._app.state.api, read_headers(scope), await _who(self._app.state.api, scope)
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        try:
            async with api.reading(client):
                await self._app(scope, receive, _counted(api, scope, keep))
        except Busy as error:
            await api.rounds.refuse(error, client)
            api.metrics.answered("other", await answer_problem(send, error, asked.request_id))
        for message in answer:  # in no turn: its client may be slow to take it
            await send(message)

    async def end_streams(self) -> None:
        """End what would never end by itself, before a server that stops waits for it."""
        await self._app.state.api.listeners.close()


def create_app(settings: Settings, parts: Parts | None = None) -> Api:
    """The application on `database_url`; `parts` are what needs Redis."""
    return Api(settings, parts or Parts())


def _create_fastapi(settings: Settings, parts: Parts) -> FastAPI:
    settings.need("database_url")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.api = ApiState.open(settings, parts)
        await app.state.api.intake.store_switch.watch(FIRST_LOOK)
        yield
        await app.state.api.close()

    app = FastAPI(title="Relais", version=version("relais"), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False  # to whatever Host says, with the key and the order
    add_routes(app)
    for path, ask in (("/healthz", get_health), ("/readyz", get_readiness), ("/metrics", get_metrics)):
        app.add_api_route(path, ask, methods=["GET", "HEAD"], include_in_schema=False)
    app.openapi = partial(document, app)  # type: ignore[method-assign]
    add_pages(app)
    for kind in (RelaisError, SQLAlchemyError, OSError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _problem)
    return app


async def get_health() -> Response:
    """Alive, whatever the stores do."""
    return Response(b'{"status":"ok"}', media_type="application/json")


async def get_readiness(request: Request) -> Response:
    """Ready when an order that comes now can be kept, and where: in the journal or in the spill; else 503. Says what
    the process knows, and waits for no store.
    """
    standing = request.app.state.api.intake.store_switch.standing
    if standing is None:
        return _as_problem(request, JournalDown("it is not known yet which store takes orders"), mode=None)
    if standing.mode is Mode.REFUSING:
        why = JournalDown("neither the journal nor the spill can take an order")
        return _as_problem(request, why, **standing._asdict())
    return Response(to_json({"status": "ready", **standing._asdict()}), media_type="application/json")


async def get_metrics(request: Request) -> Response:
    """What this process counts, for Prometheus, with RELAIS_METRICS_TOKEN or a key that has the scope `ops`."""
    api: ApiState = request.app.state.api
    await api.open_metrics(read_headers(request.scope))
    return Response(api.render_metrics(), media_type=CONTENT_TYPE)


async def _who(api: ApiState, scope: Scope) -> str:
    """The client, or the address where none is known."""
    try:
        return (await api.caller(read_headers(scope))).name
    except RelaisError:
        return address_of(scope)


def _counted(api: ApiState, scope: Scope, send: Send) -> Send:
    """Send that adds the request id to an answer, and counts it by the route that FastAPI found."""
    request_id = read_headers(scope).request_id
    scope.setdefault("state", {})["request_id"] = request_id

    async def tell(message: Message) -> None:
        if message["type"] == "http.response.start":
            api.metrics.answered(getattr(scope.get("route"), "path", "other"), message["status"])
            message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
        await send(message)

    return tell


async def _problem(request: Request, error: Exception) -> Response:
    """Who is nobody is told that before what is wrong with the question."""
    if isinstance(error, RequestValidationError):
        try:
            await request.app.state.api.caller(read_headers(request.scope))
        except RelaisError as refusal:
            error = refusal
    if isinstance(error, HTTPException) and error.status_code == 405:
        error.headers = {"Allow": ", ".join(_allowed(request))}
    return _as_problem(request, error)


def _allowed(request: Request) -> list[str]:
    """Every method of a path; the routing knows only those of the first route that has it."""
    direct = {method for method, path in DIRECT if path == request.scope["path"]}
    routed = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted(direct.union(*(route.methods for route in routed)))


def _as_problem(request: Request, error: Exception, **more: object) -> Response:
    status, content, headers = describe(error, request.state.request_id)
    return Response(to_json({**content, **more}), status, dict(headers), media_type=PROBLEM_JSON.decode())
