"""The OpenAPI document: every route with what it takes, what it answers, and examples.

What FastAPI serves it describes itself, the rest is in `orders.api.openapi.by_hand`; a test holds the running API
against it all.
"""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from orders.api import schemas
from orders.api.openapi.by_hand import described
from orders.api.openapi.parts import Json, answers, problem, ref
from orders.api.responses import INTERNAL
from orders.api.routes import order_routes
from orders.errors import Malformed, NotFound, TooLate
from orders.model import Order

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


def add_routes(app: FastAPI) -> None:
    """The routes that FastAPI serves."""
    by_id, by_reference = "/orders/{order_id}", "/pharmacies/{pharmacy}/orders/{reference:path}"
    add = app.add_api_route
    common: Json = {
        "response_model": None,
        "tags": ["orders"],
        "generate_unique_id_function": lambda route: route.name,
    }
    add("/orders", order_routes.get_orders, summary="List orders", responses=answers("Page", Malformed), **common)
    known = answers("Life", NotFound, Malformed)
    add(by_id, order_routes.get_order, summary="What became of an order", responses=known, **common)
    add(by_reference, order_routes.get_order_by_reference, summary="The same, by reference", responses=known, **common)
    cancelled = answers("Cancelled", NotFound, TooLate, Malformed)
    add(by_id, order_routes.delete_order, methods=["DELETE"], summary="Cancel an order", responses=cancelled, **common)


def document(app: FastAPI) -> Json:
    """The document, made once."""
    if app.openapi_schema is None:
        found = FastAPI.openapi(app)
        for path, operations in described().items():
            found["paths"].setdefault(path, {}).update(operations)
        for operations in found["paths"].values():
            for operation in operations.values():
                _complete(operation)
        _, schema = models_json_schema([(model, "validation") for model in SCHEMAS], ref_template=ref("{model}"))
        components = found.setdefault("components", {})
        components["schemas"] = schema["$defs"]
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"key": []}]
        app.openapi_schema = found
    return app.openapi_schema


def _complete(operation: Json) -> None:
    """What every operation has: a request id in and out, and an answer for what nobody foresaw."""
    operation.setdefault("parameters", []).append(REQUEST_ID)
    operation["responses"].setdefault(str(INTERNAL.status), problem(INTERNAL.title))
    operation["responses"].pop("422", None) if not _takes_input(operation) else None
    for response in operation["responses"].values():
        response.setdefault("headers", {})["X-Request-ID"] = {"schema": {"type": "string"}}


def _takes_input(operation: Json) -> bool:
    return len(operation["parameters"]) > 1 or "requestBody" in operation
