"""The intake's HTTP face. An order is parsed, journalled with its group, and only then answered 202.

The hot route reads the raw bytes itself: pydantic parses them once and every fault is named. Answers that are not
a success are problem details (RFC 9457) with a `faults` list where there are several things to say.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from config.settings import Settings
from orders import reading
from orders.clients import Keyring
from orders.errors import Conflict, Fault, JournalDown, Malformed, NotFound, RelaisError, TooLarge, Unauthorised
from orders.intake import Intake
from orders.journal import connect, unreachable
from orders.model import Order, parse

BODY_LIMIT = 1024 * 1024  # bytes; 10,000 lines are about 0.5 MiB
MOST_FAULTS = 100
RETRY_AFTER = "2"
JOURNAL_TIMEOUT = 5.0  # seconds for one statement; a group is tried twice

PROBLEMS: dict[type[RelaisError], tuple[int, str, dict[str, str]]] = {
    Malformed: (422, "the order is malformed", {}),
    TooLarge: (413, "too large", {}),
    Conflict: (409, "the reference is taken", {}),
    NotFound: (404, "not found", {}),
    Unauthorised: (401, "unauthorised", {"WWW-Authenticate": "Bearer"}),
    JournalDown: (503, "the journal cannot take the order", {"Retry-After": RETRY_AFTER}),
}


def create_app(settings: Settings) -> ASGIApp:
    """The application; connects when it starts serving. Needs `database_url`.

    Orders go past FastAPI's routing and middleware, which would cost more than everything that is done for them.
    """
    app = _create_fastapi(settings)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/orders" and scope["method"] == "POST":
            scope["app"] = app
            answer = await _post_order(Request(scope, receive))
            await answer(scope, receive, send)
        else:
            await app(scope, receive, send)

    return front


def _create_fastapi(settings: Settings) -> FastAPI:
    url = settings.need("database_url")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = connect(url, pool=6, timeout=JOURNAL_TIMEOUT)
        app.state.engine = engine
        app.state.intake = Intake(engine, settings.backend)
        app.state.keyring = Keyring(engine)
        yield
        await app.state.intake.close()
        await engine.dispose()

    app = FastAPI(title="Relais", version="0.1.0", lifespan=lifespan, docs_url=None, redoc_url=None)
    _add_routes(app)
    app.openapi = partial(_document, app)  # type: ignore[method-assign]
    for kind in (RelaisError, SQLAlchemyError, OSError):
        app.add_exception_handler(kind, _problem)
    return app


def _add_routes(app: FastAPI) -> None:
    problem: dict[str, Any] = {"content": {"application/problem+json": {}}}
    app.add_api_route(
        "/orders", post_order, methods=["POST"], status_code=202, summary="Hand over an order",
        responses={
            200: {"description": "this very order was accepted before"},
            **{code: {"description": title, **problem} for code, title, _ in PROBLEMS.values()},
        },
        openapi_extra={"requestBody": {
            "required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
        }},
    )  # fmt: skip
    known = {code: {"description": title, **problem} for code, title, _ in PROBLEMS.values() if code != 409}
    app.add_api_route("/orders/{order_id}", get_order, methods=["GET"], responses=known)  # type: ignore[arg-type]
    path = "/pharmacies/{pharmacy}/orders/{reference:path}"
    app.add_api_route(path, get_order_by_reference, methods=["GET"], responses=known)  # type: ignore[arg-type]
    app.add_api_route("/healthz", get_health, methods=["GET"], summary="The process is alive")
    app.add_api_route("/readyz", get_readiness, methods=["GET"], summary="The journal is in reach")


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document; the order's schema is added here, since its route parses the raw body itself."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        order = Order.model_json_schema(ref_template="#/components/schemas/{model}")
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update({**order.pop("$defs"), "Order": order})
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        app.openapi_schema = document
    return app.openapi_schema


async def post_order(request: Request) -> Response:
    """Journal the order in the body: 202 once it is on disk, 200 when this very order was accepted before."""
    client = await _client(request)
    accepted = await request.app.state.intake.accept(parse(await _body(request)), client)
    answer = f'{{"id":"{accepted.id}","repeated":{"true" if accepted.repeated else "false"}}}'
    return Response(
        answer,
        status_code=200 if accepted.repeated else 202,
        media_type="application/json",
        headers={"Location": f"/orders/{accepted.id}"},
    )


async def _post_order(request: Request) -> Response:
    try:
        return await post_order(request)
    except ClientDisconnect:  # in the middle of its body: nobody is there to be answered
        return Response(status_code=400)
    except (RelaisError, SQLAlchemyError, OSError) as error:
        return await _problem(request, error)


async def get_order(request: Request, order_id: UUID) -> dict[str, Any]:
    """What became of an order: state, attempts, history, receipt with per-line quantities."""
    await _client(request)
    return await reading.order(request.app.state.engine, order_id)


async def get_order_by_reference(request: Request, pharmacy: str, reference: str) -> dict[str, Any]:
    """What became of an order, by the pharmacy's own order number."""
    await _client(request)
    return await reading.order_by_reference(request.app.state.engine, pharmacy, reference)


async def get_health() -> dict[str, str]:
    """Alive, whatever the stores do."""
    return {"status": "ok"}


async def get_readiness(request: Request) -> dict[str, str]:
    """Ready when the journal answers, else 503."""
    async with request.app.state.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return {"status": "ready"}


async def _client(request: Request) -> str:
    keyring: Keyring = request.app.state.keyring
    return await keyring.client(request.headers.get("authorization"))


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_LIMIT:
            raise TooLarge(f"an order is at most {BODY_LIMIT} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    """The one place where an exception becomes an answer."""
    if unreachable(error):
        error = JournalDown("the journal is out of reach")
    if not isinstance(error, RelaisError):
        raise error
    status, title, headers = PROBLEMS[type(error)]
    content: dict[str, Any] = {"status": status, "title": title, "detail": str(error)}
    if isinstance(error, Malformed):
        content["faults"] = [_shown(fault) for fault in error.faults[:MOST_FAULTS]]
        content["detail"] = f"{len(error.faults)} faults" if len(error.faults) > 1 else str(error)
    if isinstance(error, Conflict):
        content["first"] = error.first
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def _shown(fault: Fault) -> dict[str, Any]:
    return {"field": fault.field, "line": fault.line, "message": fault.message}
