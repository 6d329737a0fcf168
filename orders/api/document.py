"""The OpenAPI document: every route with what it takes, what it answers, and examples.

The routes that stream or parse their own bodies are described by hand; a test holds the running API against it all.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from orders.api import schemas
from orders.api.responses import INTERNAL, PROBLEMS
from orders.api.routes import order_routes
from orders.errors import (
    Busy,
    Conflict,
    Forbidden,
    JournalDown,
    KeyReused,
    Malformed,
    NotFound,
    RelaisError,
    Throttled,
    TooLarge,
    TooLate,
    Unauthorised,
)
from orders.model import EXAMPLE, Order
from orders.pharmaml.encoding import encode
from orders.pharmaml.messages import Codification, Commande, Envelope, EnvelopeHead, LigneCommande, Nature, Partner

Json = dict[str, Any]
Responses = dict[Any, Json]  # by status

ALWAYS: Final = (Unauthorised, Forbidden, JournalDown)
SCHEMAS: Final = (
    schemas.Taken,
    schemas.LineAnswer,
    schemas.ProblemShown,
    schemas.Life,
    schemas.Page,
    schemas.Cancelled,
    schemas.Health,
    schemas.Readiness,
    Order,
)
REQUEST_ID: Final[Json] = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "description": "the front end's own word for the request, found again in logs, journal and at the ERP: up to 64 "
    "letters, digits and ._:/+=-; anything else is replaced",
    "schema": {"type": "string"},
    "example": "checkout-7f3a",
}
IDEMPOTENCY_KEY: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "stands for one order beside (pharmacy, reference); another order under it is 422",
    "schema": {"type": "string", "maxLength": 255, "pattern": "^[!-~]+$"},
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}
RETRY_AFTER: Final[Json] = {"Retry-After": {"schema": {"type": "integer", "minimum": 0}, "description": "seconds"}}


PHARMAML: Final = encode(
    Envelope(
        EnvelopeHead(
            Nature.REQ_EMISSION,
            Partner("OF", "00", "990000002", "Pharmacie du Port"),
            Partner("RE", "12", "04", "Grossiste"),
            "MSG-1",
            date=datetime(2026, 1, 5, 11, 12),
        ),
        Commande("990000002", ("12", "04"), "CMD-1", (LigneCommande(1, Codification.EAN13, "3400937318044", 2),)),
    ),
    "UTF-8",
).decode()


def add_routes(app: FastAPI) -> None:
    """The routes that FastAPI serves."""
    by_id, by_reference = "/orders/{order_id}", "/pharmacies/{pharmacy}/orders/{reference:path}"
    add = app.add_api_route
    common: Json = {
        "response_model": None,
        "tags": ["orders"],
        "generate_unique_id_function": lambda route: route.name,
    }
    add("/orders", order_routes.get_orders, summary="List orders", responses=_answers("Page", Malformed), **common)
    known = _answers("Life", NotFound, Malformed)
    add(by_id, order_routes.get_order, summary="What became of an order", responses=known, **common)
    add(by_reference, order_routes.get_order_by_reference, summary="The same, by reference", responses=known, **common)
    cancelled = _answers("Cancelled", NotFound, TooLate, Malformed)
    add(by_id, order_routes.delete_order, methods=["DELETE"], summary="Cancel an order", responses=cancelled, **common)


def document(app: FastAPI) -> Json:
    """The document, made once."""
    if app.openapi_schema is None:
        found = FastAPI.openapi(app)
        for path, operations in (_placing() | _looking()).items():
            found["paths"].setdefault(path, {}).update(operations)
        for operations in found["paths"].values():
            for operation in operations.values():
                _complete(operation)
        _, schema = models_json_schema([(model, "validation") for model in SCHEMAS], ref_template=_ref("{model}"))
        components = found.setdefault("components", {})
        components["schemas"] = schema["$defs"]
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"key": []}]
        app.openapi_schema = found
    return app.openapi_schema


def _placing() -> dict[str, Json]:
    """Handing over, in our words and in PharmaML's."""
    placing = (Conflict, Malformed, KeyReused, TooLarge, Throttled, Busy)
    one = {"application/json": {"schema": {"$ref": _ref("Order")}, "example": EXAMPLE}}
    return {
        "/orders": {
            "post": {
                "operationId": "post_order",
                "tags": ["orders"],
                "summary": "Hand over an order",
                "description": "202 is a receipt: the order is on disk. The same order again is answered 200. "
                "One whose `valid_until` is past is answered 422; while PostgreSQL is away nobody can say whether it "
                "was taken in time: it is answered 202, and is dead (`expired`) once it is journalled.",
                "parameters": [IDEMPOTENCY_KEY],
                "requestBody": {"required": True, "content": one},
                "responses": {
                    "202": {
                        **_json("Taken", "on disk", {"Location": {"schema": {"type": "string"}}}),
                        "links": {name: _link(name) for name in ("get_order", "delete_order")},
                    },
                    "200": _json("Taken", "this very order was accepted before"),
                    **_problems(*placing, *ALWAYS),
                },
            }
        },
        "/orders/batch": {
            "post": {
                "operationId": "post_batch",
                "tags": ["orders"],
                "summary": "Hand over many orders",
                "description": "One order a line; one answer a line, while the rest is still being sent. A line that "
                "was answered is answered for good; if the connection breaks, send the others again.",
                "requestBody": {
                    "required": False,
                    "content": _lines(
                        {"description": "lines, each an Order"},
                        '{"pharmacy":"990000002","reference":"CMD-1","lines":'
                        '[{"product":"3400937318044","quantity":2}]}\n',
                    ),
                },
                "responses": {
                    "200": {
                        "description": "an answer for each line",
                        "content": _lines(
                            {"type": "string", "description": "lines of LineAnswer"},
                            f'{{"line":1,"status":"accepted","id":"{schemas.ID}","kept":"journal"}}\n',
                        ),
                    },
                    **_problems(Busy, *ALWAYS),
                },
            }
        },
        "/pharmaml": {
            "post": {
                "operationId": "post_pharmaml",
                "tags": ["pharmaml"],
                "summary": "Ask in PharmaML",
                "description": "An order, or a question for the replies in the deposit, in the pharmacies' own "
                "protocol. The API key may also be the password of HTTP Basic. See docs/pharmaml.md.",
                "requestBody": {"required": False, "content": {"text/xml": {"schema": {}, "example": PHARMAML}}},
                "responses": {
                    "200": {
                        "description": "the protocol's answer, ERREUR among them",
                        "content": {
                            "text/xml": {"schema": {"type": "object"}},
                        },
                    },
                    **_problems(TooLarge, Throttled, Busy, *ALWAYS),
                },
            }
        },
    }


def _looking() -> dict[str, Json]:
    """What became of orders, and how the intake is."""
    return {
        "/orders/{order_id}/events": {
            "get": {
                "operationId": "get_events",
                "tags": ["orders"],
                "summary": "An order's life as it happens",
                "description": "Server-sent events: `accepted` (id 0), then each state that matters to a front end, "
                "with what the ERP accepted of each line on `delivered`. Ends with the final event. 204: you have it "
                "already.",
                "parameters": [
                    {
                        "name": "order_id",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "format": "uuid"},
                    },
                    {
                        "name": "Last-Event-ID",
                        "in": "header",
                        "required": False,
                        "schema": {"type": "string"},
                        "description": "the last event that you have; only later ones are sent",
                    },
                ],
                "responses": {
                    "200": {"description": "events", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
                    "204": {"description": "nothing more will happen to this order"},
                    **_problems(NotFound, Conflict, Malformed, Busy, *ALWAYS),
                },
            }
        },
        "/metrics": {
            "get": {
                "operationId": "get_metrics",
                "tags": ["health"],
                "summary": "What this process counts, for Prometheus",
                "responses": {
                    "200": {"description": "the metrics", "content": {"text/plain": {"schema": {"type": "string"}}}},
                    **_problems(*ALWAYS),
                },
            }
        },
        "/healthz": {"get": _open("get_health", "The process is alive", {"200": _json("Health", "alive")})},
        "/readyz": {
            "get": _open(
                "get_readiness",
                "Where an order that comes now is kept",
                {
                    "200": _json("Readiness", "in the journal or in the spill"),
                    **_problems(JournalDown),
                },
            )
        },
    }


def _complete(operation: Json) -> None:
    """What every operation has: a request id in and out, and an answer for what nobody foresaw."""
    operation.setdefault("parameters", []).append(REQUEST_ID)
    operation["responses"].setdefault(str(INTERNAL.status), _problem(INTERNAL.title))
    operation["responses"].pop("422", None) if not _takes_input(operation) else None
    for response in operation["responses"].values():
        response.setdefault("headers", {})["X-Request-ID"] = {"schema": {"type": "string"}}


def _takes_input(operation: Json) -> bool:
    return len(operation["parameters"]) > 1 or "requestBody" in operation


def _answers(model: str, *errors: type[RelaisError]) -> Responses:
    return {200: _json(model, model.lower()), **_problems(*errors, *ALWAYS)}


def _problems(*errors: type[RelaisError]) -> Responses:
    """By status; kinds of problem that share one are told together."""
    told: Responses = {}
    for error in errors:
        kind = PROBLEMS[error]
        also = told.get(str(kind.status))
        told[str(kind.status)] = _problem(f"{also['description']}; {kind.title}" if also else kind.title)
        if "Retry-After" in kind.headers:
            told[str(kind.status)]["headers"] = dict(RETRY_AFTER)
    return told


def _problem(title: str) -> Json:
    content = {"application/problem+json": {"schema": {"$ref": _ref("ProblemShown")}}}
    return {"description": title, "content": content}


def _json(model: str, description: str, headers: Json | None = None) -> Json:
    content = {"application/json": {"schema": {"$ref": _ref(model)}}}
    return {"description": description, "content": content, "headers": dict(headers or {})}


def _lines(schema: Json, example: str) -> Json:
    return {"application/x-ndjson": {"schema": schema, "example": example}}


def _open(name: str, summary: str, responses: Json) -> Json:
    """An operation that needs no key."""
    return {"operationId": name, "tags": ["health"], "summary": summary, "security": [], "responses": responses}


def _link(operation: str) -> Json:
    return {"operationId": operation, "parameters": {"order_id": "$response.body#/id"}}


def _ref(model: str) -> str:
    return f"#/components/schemas/{model}"
