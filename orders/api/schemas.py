"""What the API answers, as its OpenAPI document describes it. For the document only: answers are written directly."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from orders.model import Order
from orders.states import Reason, State

ID = "01a1b2c3-d4e5-7f60-8a9b-0c1d2e3f4a5b"


class Taken(BaseModel):
    """An order that is on disk."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": ID, "repeated": False, "kept": "journal"}]})

    id: UUID = Field(description="of the order, and its idempotency key at the ERP")
    repeated: bool = Field(description="this very order had been accepted before")
    kept: Literal["journal", "spill"] = Field(description="`spill`: on Redis' disk while PostgreSQL is away")


class LineAnswer(BaseModel):
    """What came of one line of a batch."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"line": 1, "status": "accepted", "id": ID, "kept": "journal"}]}
    )

    line: int = Field(ge=1, description="of the request, blank lines counted")
    status: Literal["accepted", "repeated", "conflict", "malformed", "forbidden", "unavailable"]
    id: UUID | None = None
    kept: Literal["journal", "spill"] | None = None
    first: UUID | None = Field(None, description="of a conflict: the order that has the reference")
    detail: str | None = None
    faults: list[FaultShown] | None = None
    retry_after: int | None = Field(None, description="of an unavailable: seconds after which to send the line again")


class FaultShown(BaseModel):
    """One thing wrong with an order."""

    field: str = Field(examples=["lines.3.quantity"])
    line: int | None = Field(description="of the order, from 1")
    message: str


class ProblemShown(BaseModel):
    """RFC 9457. `type` names the kind of problem for programs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:relais:problem:not-found",
                    "status": 404,
                    "title": "not found",
                    "detail": "no such order, or none that this client may see",
                }
            ]
        }
    )

    type: str
    status: int
    title: str
    detail: str
    faults: list[FaultShown] | None = None
    first: UUID | None = None
    state: State | None = Field(None, description="of an order that cannot be cancelled any more")
    mode: Literal["refusing"] | None = Field(None, description="of an intake that is not ready")


class Attempt(BaseModel):
    """One claim that called the ERP."""

    started_at: datetime
    ended_at: datetime
    outcome: str
    status: int | None
    detail: str
    worker: str


class ReceiptLine(BaseModel):
    """What the ERP accepted of one line, delivers in its place, and delivers later."""

    line: int
    product: str
    accepted: int = Field(description="boxes, of the substitute where there is one")
    reason: str | None = Field(description="why fewer")
    substitute: str | None = Field(description="product that is delivered in its place")
    back_ordered: int = Field(description="boxes that come later, beside those accepted")
    expected: date | None = Field(description="when they are expected")


class Receipt(BaseModel):
    """The ERP's acknowledgement."""

    reference: str
    lines: list[ReceiptLine]
    digest: str | None
    signature: str | None
    received_at: datetime


SUMMARY: dict[str, JsonValue] = {
    "id": ID,
    "pharmacy": "990000002",
    "reference": "CMD-2026-000123",
    "received_at": "2026-01-05T11:12:00Z",
    "client": "front",
    "state": "delivered",
    "reason": None,
    "error": None,
    "attempts": 1,
    "due_at": "2026-01-05T11:12:00Z",
    "settled_at": "2026-01-05T11:12:01Z",
}


class Summary(BaseModel):
    """An order in a list."""

    model_config = ConfigDict(json_schema_extra={"examples": [SUMMARY]})

    id: UUID
    pharmacy: str
    reference: str
    received_at: datetime
    client: str
    state: State
    reason: Reason | None = Field(description="of a dead letter")
    error: str | None
    attempts: int
    due_at: datetime
    settled_at: datetime | None


LIFE: dict[str, JsonValue] = {
    **SUMMARY,
    "digest": "9f" * 32,
    "backend": "erp",
    "request_id": "checkout-7f3a",
    "kept": "journal",
    "rival": None,
    "order": {
        "lines": [{"product": "3400937318044", "quantity": 2}],
        "pharmacy": "990000002",
        "priority": "normal",
        "reference": "CMD-2026-000123",
    },
    "history": [
        {
            "started_at": "2026-01-05T11:12:00Z",
            "ended_at": "2026-01-05T11:12:01Z",
            "outcome": "accepted",
            "status": 201,
            "detail": "",
            "worker": "relais-1:4711",
        }
    ],
    "receipt": {
        "reference": "E-1",
        "lines": [
            {
                "line": 1,
                "product": "3400937318044",
                "accepted": 1,
                "reason": "shortage",
                "substitute": None,
                "back_ordered": 1,
                "expected": "2026-01-07",
            }
        ],
        "digest": "9f" * 32,
        "signature": None,
        "received_at": "2026-01-05T11:12:01Z",
    },
}


class Life(Summary):
    """What became of an order."""

    model_config = ConfigDict(json_schema_extra={"examples": [LIFE]})

    digest: str = Field(description="SHA-256 of the canonical bytes, hexadecimal")
    backend: str
    request_id: str | None
    kept: Literal["journal", "spill"] = Field(description="`spill`: on Redis' disk, not yet in the journal")
    rival: UUID | None = Field(
        description="the order that has its place, of one that is dead by conflict or taken back"
    )
    order: Order
    history: list[Attempt]
    receipt: Receipt | None


class Page(BaseModel):
    """A page of orders, in the order in which they were journalled."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"orders": [SUMMARY], "next": None}]})

    orders: list[Summary]
    next: str | None = Field(description="the `cursor` of the next page; null on the last")


class Cancelled(BaseModel):
    """The order will not be forwarded."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": ID, "state": "cancelled"}]})

    id: UUID
    state: Literal["cancelled"]


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Where an order that comes now is kept."""

    status: Literal["ready"]
    mode: Literal["journal", "spill"]
    since: datetime
    journal_answered_at: datetime | None
