"""Reading what an ERP answers (`docs/erp-contract.md`), and not believing what cannot be.

A receipt must be for the bytes that were sent, and for no more boxes than were ordered; the rest is suspicious.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from workers.erp.port import Kind, Outcome, Receipt, ReceiptLine, Submission


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer with a JSON body of bounded size."""

    status: int
    body: bytes


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    reference: str | None = Field(None, min_length=1, max_length=200)
    digest: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    lines: tuple[ReceiptLine, ...] = ()
    signature: str | None = Field(None, max_length=4096)


class _Found(_Said):
    id: UUID
    state: Literal["accepted", "pending", "refused"]
    error: str = ""


class _FoundMany(BaseModel):
    orders: list[_Found]


_SAID = TypeAdapter(_Said)
_FOUND = TypeAdapter(_FoundMany)
KINDS = {"accepted": Kind.ACCEPTED, "pending": Kind.PENDING, "refused": Kind.REFUSED}


def read_answer(answer: Answer, order: Submission) -> Outcome:
    """The outcome of a submission that was answered with a 2xx."""
    try:
        said = _SAID.validate_json(answer.body)
    except ValidationError as error:
        return Outcome(Kind.SUSPICIOUS, f"no receipt: {error.errors()[0]['msg'][:100]}", answer.status)
    if answer.status == 202:
        return Outcome(Kind.PENDING, "", answer.status)
    doubt = _doubt(said, order)
    if doubt:
        return Outcome(Kind.SUSPICIOUS, doubt, answer.status)
    kind = Kind.ACCEPTED if answer.status == 201 else Kind.DUPLICATE
    return Outcome(kind, "", answer.status, _receipt(said))


def read_found(answer: Answer, ids: Sequence[UUID]) -> dict[UUID, Outcome]:
    """The outcome of a question about `ids`; what the ERP leaves out it does not have."""
    try:
        found = {one.id: one for one in _FOUND.validate_json(answer.body).orders}
    except ValidationError as error:
        detail = f"no list of orders: {error.errors()[0]['msg'][:100]}"
        return dict.fromkeys(ids, Outcome(Kind.UNKNOWN, detail, answer.status))
    return {order_id: _known(found.get(order_id), answer.status) for order_id in ids}


def _known(one: _Found | None, status: int) -> Outcome:
    if one is None:
        return Outcome(Kind.ABSENT, "", status)
    kind = KINDS[one.state]
    if kind is Kind.ACCEPTED and one.reference is None:
        return Outcome(Kind.UNKNOWN, "accepted without a reference", status)
    return Outcome(kind, one.error[:300], status, _receipt(one) if kind is Kind.ACCEPTED else None)


def _doubt(said: _Said, order: Submission) -> str | None:
    if said.reference is None:
        return "a receipt without a reference"
    if said.digest is not None and said.digest != order.digest.hex():
        return "the receipt is for other bytes than were sent"
    ordered = [line["quantity"] for line in json.loads(order.body)["lines"]]
    for line in said.lines:
        if not 1 <= line.line <= len(ordered) or not 0 <= line.accepted <= ordered[line.line - 1]:
            return f"the receipt accepts {line.accepted} on line {line.line}, which was not ordered"
    return None


def _receipt(said: _Said) -> Receipt:
    digest = bytes.fromhex(said.digest) if said.digest else None
    return Receipt(said.reference or "", digest, said.lines, said.signature)
