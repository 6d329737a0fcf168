"""The operations that stream, parse their own bodies or answer for the process, described by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from orders.api import schemas
from orders.api.openapi.parts import ALWAYS, Json, keyless, lines, link, problems, ref, shown
from orders.errors import Busy, Conflict, JournalDown, KeyReused, Malformed, NotFound, Throttled, TooLarge
from orders.model import EXAMPLE
from orders.pharmaml.encoding import encode
from orders.pharmaml.messages import Codification, Commande, Envelope, EnvelopeHead, LigneCommande, Nature, Partner
from orders.pharmaml.pieces import whole

IDEMPOTENCY_KEY: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "stands for one order beside (pharmacy, reference); another order under it is 422",
    "schema": {"type": "string", "maxLength": 255, "pattern": "^[!-~]+$"},
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}

_MESSAGE: Final = Envelope(
    EnvelopeHead(
        Nature.REQ_EMISSION,
        Partner("OF", "00", "990000002", "Pharmacie du Port"),
        Partner("RE", "12", "04", "Grossiste"),
        "MSG-1",
        date=datetime(2026, 1, 5, 11, 12),
    ),
    Commande("990000002", ("12", "04"), "CMD-1", (LigneCommande(1, Codification.EAN13, "3400937318044", 2),)),
)
PHARMAML: Final = whole(encode(_MESSAGE, "UTF-8")).decode()


def described() -> dict[str, Json]:
    """By path and method."""
    health = {"200": shown("Health", "alive")}
    readiness = {"200": shown("Readiness", "in the journal or in the spill"), **problems(JournalDown)}
    return {
        "/orders": {"post": _post_order()},
        "/orders/batch": {"post": _post_batch()},
        "/pharmaml": {"post": _post_pharmaml()},
        "/orders/{order_id}/events": {"get": _get_events()},
        "/metrics": {"get": _get_metrics()},
        "/healthz": {"get": keyless("get_health", "The process is alive", health)},
        "/readyz": {"get": keyless("get_readiness", "Where an order that comes now is kept", readiness)},
    }


def _post_order() -> Json:
    """An order, in our words."""
    placing = (Conflict, Malformed, KeyReused, TooLarge, Throttled, Busy)
    one = {"application/json": {"schema": {"$ref": ref("Order")}, "example": EXAMPLE}}
    return {
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
                **shown("Taken", "on disk", {"Location": {"schema": {"type": "string"}}}),
                "links": {name: link(name) for name in ("get_order", "delete_order")},
            },
            "200": shown("Taken", "this very order was accepted before"),
            **problems(*placing, *ALWAYS),
        },
    }


def _post_batch() -> Json:
    """Many of them."""
    return {
        "operationId": "post_batch",
        "tags": ["orders"],
        "summary": "Hand over many orders",
        "description": "One order a line; one answer a line, while the rest is still being sent. A line that "
        "was answered is answered for good; if the connection breaks, send the others again.",
        "requestBody": {
            "required": False,
            "content": lines(
                {"description": "lines, each an Order"},
                '{"pharmacy":"990000002","reference":"CMD-1","lines":[{"product":"3400937318044","quantity":2}]}\n',
            ),
        },
        "responses": {
            "200": {
                "description": "an answer for each line",
                "content": lines(
                    {"type": "string", "description": "lines of LineAnswer"},
                    f'{{"line":1,"status":"accepted","id":"{schemas.ID}","kept":"journal"}}\n',
                ),
            },
            **problems(Busy, *ALWAYS),
        },
    }


def _post_pharmaml() -> Json:
    """One in PharmaML."""
    return {
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
            **problems(TooLarge, Throttled, Busy, *ALWAYS),
        },
    }


def _get_events() -> Json:
    """What becomes of one."""
    return {
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
            **problems(NotFound, Conflict, Malformed, Busy, *ALWAYS),
        },
    }


def _get_metrics() -> Json:
    """What the process counts."""
    return {
        "operationId": "get_metrics",
        "tags": ["health"],
        "summary": "What this process counts, for Prometheus",
        "responses": {
            "200": {"description": "the metrics", "content": {"text/plain": {"schema": {"type": "string"}}}},
            **problems(*ALWAYS),
        },
    }
