"""How the API answers: small ASGI messages, and problem details (RFC 9457) for whatever is no success.

This is the one place where an exception becomes an answer. A problem's `type` is a URN that names it for programs;
the words are for people and never repeat what was sent.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.types import Send

from orders.errors import (
    Busy,
    Conflict,
    Fault,
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
from orders.faults import MOST_FAULTS
from orders.journal import unreachable
from orders.sentences import count

log = logging.getLogger("relais.api")

RETRY_AFTER: Final = 2  # seconds
JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"

Headers = Mapping[str, str]
NONE: Final[Headers] = MappingProxyType({})


class Problem(NamedTuple):
    """A kind of problem: HTTP status, the end of its URN, its title, headers that go with it."""

    status: int
    name: str
    title: str
    headers: Headers = NONE


LATER: Final = {"Retry-After": str(RETRY_AFTER)}
PROBLEMS: Final[dict[type[RelaisError], Problem]] = {
    Malformed: Problem(422, "malformed", "malformed"),
    KeyReused: Problem(422, "idempotency-key-reused", "the Idempotency-Key was used for another order"),
    TooLarge: Problem(413, "too-large", "too large"),
    Conflict: Problem(409, "conflict", "the reference is taken"),
    TooLate: Problem(409, "too-late", "the order cannot be cancelled any more"),
    NotFound: Problem(404, "not-found", "not found"),
    Forbidden: Problem(403, "forbidden", "forbidden"),
    Unauthorised: Problem(401, "unauthorised", "unauthorised", {"WWW-Authenticate": "Bearer"}),
    Throttled: Problem(429, "throttled", "too many orders", LATER),
    Busy: Problem(503, "busy", "the intake has too much in hand", LATER),
    JournalDown: Problem(503, "unavailable", "the order cannot be taken now", LATER),
}
INTERNAL: Final = Problem(500, "internal", "internal error")


async def answer(send: Send, status: int, body: bytes, media_type: bytes, headers: Headers) -> None:
    """One whole answer."""
    raw = [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
    raw += [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def answer_problem(send: Send, error: Exception, request_id: str, more: Headers = NONE) -> int:
    """Answer what went wrong, with `more` headers; returns the status."""
    status, content, headers = describe(error, request_id)
    await answer(send, status, to_json(content), PROBLEM_JSON, {**headers, **more, "X-Request-ID": request_id})
    return status


def describe(error: Exception, request_id: str) -> tuple[int, dict[str, Any], Headers]:
    """Status, problem document and headers for whatever was raised; what nobody foresaw is logged and is a 500."""
    if isinstance(error, HTTPException):
        return _foreign(error)
    if isinstance(error, RequestValidationError):
        error = Malformed([Fault(_where(each["loc"]), None, each["msg"]) for each in error.errors()])
    elif isinstance(error, SQLAlchemyError | OSError) and unreachable(error):
        error = JournalDown("the journal is out of reach")
    if not isinstance(error, RelaisError):
        log.error("a request failed", exc_info=error)
        return INTERNAL.status, _document(INTERNAL, "an internal error, which was logged"), NONE
    kind = PROBLEMS[type(error)]
    content = {**_document(kind, str(error)), **_more(error)}
    if isinstance(error, Throttled):
        return kind.status, content, {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return kind.status, content, kind.headers


def shown(faults: list[Fault]) -> list[dict[str, Any]]:
    """Faults as an answer lists them."""
    return [{"field": each.field, "line": each.line, "message": each.message} for each in faults[:MOST_FAULTS]]


def detail_of(error: RelaisError) -> str:
    """The sentence of an answer; the faults of a malformed order are listed beside it."""
    if isinstance(error, Malformed) and len(error.faults) > 1:
        more = len(error.faults) > MOST_FAULTS
        return f"{MOST_FAULTS} faults, and more" if more else count(len(error.faults), "fault")
    return str(error)


def _document(kind: Problem, detail: str) -> dict[str, Any]:
    return {
        "type": f"urn:relais:problem:{kind.name}",
        "status": kind.status,
        "title": kind.title,
        "detail": detail,
    }


def _more(error: RelaisError) -> dict[str, Any]:
    if isinstance(error, Malformed):
        return {"faults": shown(error.faults), "detail": detail_of(error)}
    if isinstance(error, Conflict | KeyReused):
        return {"first": error.first}
    return {"state": error.state} if isinstance(error, TooLate) else {}


def _foreign(error: HTTPException) -> tuple[int, dict[str, Any], Headers]:
    """What the routing has to say: 404, 405."""
    kind = Problem(error.status_code, "http", str(error.detail).lower())
    content = {**_document(kind, kind.title), "type": "about:blank"}
    return kind.status, content, error.headers or NONE


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:64] for part in location if part not in ("query", "path", "body")) or "request"
