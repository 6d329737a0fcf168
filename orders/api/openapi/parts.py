"""What descriptions of operations are made of: answers by status, problems, contents, links."""

from __future__ import annotations

from typing import Any, Final

from orders.api.responses import PROBLEMS
from orders.errors import Forbidden, JournalDown, RelaisError, Unauthorised

Json = dict[str, Any]
Responses = dict[Any, Json]  # by status

ALWAYS: Final = (Unauthorised, Forbidden, JournalDown)
RETRY_AFTER: Final[Json] = {"Retry-After": {"schema": {"type": "integer", "minimum": 0}, "description": "seconds"}}


def answers(model: str, *errors: type[RelaisError]) -> Responses:
    """What an operation of FastAPI's answers: a model on 200, and these problems beside those of ALWAYS."""
    return {200: shown(model, model.lower()), **problems(*errors, *ALWAYS)}


def problems(*errors: type[RelaisError]) -> Responses:
    """By status; kinds of problem that share one are told together."""
    told: Responses = {}
    for error in errors:
        kind = PROBLEMS[error]
        also = told.get(str(kind.status))
        told[str(kind.status)] = problem(f"{also['description']}; {kind.title}" if also else kind.title)
        if "Retry-After" in kind.headers:
            told[str(kind.status)]["headers"] = dict(RETRY_AFTER)
    return told


def problem(title: str) -> Json:
    """An answer that is a problem (RFC 9457)."""
    content = {"application/problem+json": {"schema": {"$ref": ref("ProblemShown")}}}
    return {"description": title, "content": content}


def shown(model: str, description: str, headers: Json | None = None) -> Json:
    """An answer that is one of the models."""
    content = {"application/json": {"schema": {"$ref": ref(model)}}}
    return {"description": description, "content": content, "headers": dict(headers or {})}


def lines(schema: Json, example: str) -> Json:
    """A content of lines, each a JSON document."""
    return {"application/x-ndjson": {"schema": schema, "example": example}}


def keyless(name: str, summary: str, responses: Json) -> Json:
    """An operation that needs no key."""
    return {"operationId": name, "tags": ["health"], "summary": summary, "security": [], "responses": responses}


def link(operation: str) -> Json:
    """Another operation on the order of this answer."""
    return {"operationId": operation, "parameters": {"order_id": "$response.body#/id"}}


def ref(model: str) -> str:
    """Where the document has the model."""
    return f"#/components/schemas/{model}"
