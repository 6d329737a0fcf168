"""What an ERP answers when all is well, by the contract (docs/erp-contract.md), and nothing else.

Everything else raises `Unfit`, which the table in `workers.erp.failures` turns into an outcome.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, NotRequired
from uuid import UUID

from pydantic import ConfigDict, FailFast, Field, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes the standard one only from Python 3.12 on

from orders.model import MOST_LINES
from orders.sentences import count
from workers.erp.failures import Met, Unfit, printable
from workers.erp.port import MOST_KEPT, ErpReceipt, ErpReceiptLine, Kind, Outcome, Submission
from workers.erp.receipts import verify

STRICT: Final = ConfigDict(strict=True)
MOST_BOXES: Final = 99_999  # of a line, as an order's
MOST_PRODUCT: Final = 40  # characters of a product's code
MOST_ASKED: Final = 50  # ids in one find, and so orders in its answer

_SOUND: Final = re.compile(r"[^\x00-\x1f\x7f]{1,200}")  # a line's reason

Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(max_length=8192, pattern=r"^[\x20-\x7e]*$")]
Id = Annotated[UUID, Field(strict=False)]


class _Receipt(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    reference: Word
    digest: Digest
    # Made by pydantic itself, which takes half the time; see _receipt. The first fault ends it: an answer of a mebibyte
    # has room for 350,000, each with words of its own.
    lines: Annotated[tuple[ErpReceiptLine, ...], Field(max_length=MOST_LINES), FailFast()]
    signature: NotRequired[Signature | None]


class _Pending(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    reference: Word


class _Refusal(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    error: Words


class _Accepted(_Receipt):
    id: Id
    state: Literal["accepted"]


class _Waiting(_Pending):
    id: Id
    state: Literal["pending"]


class _Refused(_Refusal):
    id: Id
    state: Literal["refused"]


class _Found(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    orders: Annotated[
        list[Annotated[_Accepted | _Waiting | _Refused, Field(discriminator="state")]],
        Field(max_length=MOST_ASKED),
        FailFast(),
    ]


_RECEIPT: Final = TypeAdapter(_Receipt)
_PENDING: Final = TypeAdapter(_Pending)
_REFUSAL: Final = TypeAdapter(_Refusal)
_FOUND: Final = TypeAdapter(_Found)


def read_receipt(raw: bytes, order: Submission, *, substitutes: bool) -> ErpReceipt:
    """The receipt in the body of a 200 or 201, verified against the order. Raises Unfit."""
    receipt = _receipt(_parsed(_RECEIPT, raw))
    verify(receipt, order.body, order.digest, substitutes=substitutes)
    return receipt


@contextmanager
def keeping(raw: bytes) -> Iterator[bytes]:
    """Inside, an Unfit takes the answer with it."""
    try:
        yield raw
    except Unfit as error:
        error.answer = raw
        raise


def read_pending(raw: bytes) -> str:
    """The ERP's reference in the body of a 202. Raises Unfit."""
    return str(_parsed(_PENDING, raw)["reference"])


def read_refusal(raw: bytes) -> str:
    """The ERP's reason in the body of a refusal. Raises Unfit when it is not in the contract's words."""
    try:
        return printable(_REFUSAL.validate_json(raw)["error"])
    except ValidationError:
        raise Unfit(Met.WORDLESS, count(len(raw), "byte")) from None


def read_found(raw: bytes, asked: Sequence[UUID]) -> dict[UUID, Outcome]:
    """What the body of a find says of each order asked about: ABSENT when it says nothing. Raises Unfit.

    Receipts are not verified here: whoever holds the orders calls `believed`.
    """
    entries, kept = _parsed(_FOUND, raw)["orders"], raw[:MOST_KEPT]
    outcomes = {entry["id"]: replace(_outcome(entry), answer=kept) for entry in entries}
    if foreign := outcomes.keys() - set(asked):
        raise Unfit(Met.UNSENT_ORDER, f"{len(foreign)} that were not asked for, {min(foreign)} among them")
    if len(outcomes) != len(entries):
        raise Unfit(Met.UNPARSABLE, "an order twice")
    return {order_id: outcomes.get(order_id) or Outcome(Kind.ABSENT, "not with the ERP", 200) for order_id in asked}


def _outcome(entry: _Accepted | _Waiting | _Refused) -> Outcome:
    if entry["state"] == "accepted":
        return Outcome(Kind.ACCEPTED, status=200, receipt=_receipt(entry))
    if entry["state"] == "pending":
        return Outcome(Kind.PENDING, f"pending as {entry['reference']}", 200)
    return Outcome(Kind.REFUSED, printable(entry["error"]), 200)


def _receipt(data: _Receipt) -> ErpReceipt:
    for line in data["lines"]:
        if not 0 <= line.accepted <= MOST_BOXES or not (line.product.isalnum() and len(line.product) <= MOST_PRODUCT):
            raise Unfit(Met.UNPARSABLE, f"line {line.line}")
        if not 0 <= line.back_ordered <= MOST_BOXES:
            raise Unfit(Met.UNPARSABLE, f"line {line.line}, back_ordered")
        if line.substitute is not None and not _is_another(line.substitute, line.product):
            raise Unfit(Met.UNPARSABLE, f"line {line.line}, substitute")
        if line.reason is not None and not _SOUND.fullmatch(line.reason):
            raise Unfit(Met.UNPARSABLE, f"line {line.line}, reason")
    return ErpReceipt(data["reference"], bytes.fromhex(data["digest"]), data["lines"], data.get("signature"))


def _is_another(substitute: str, product: str) -> bool:
    return substitute != product and substitute.isalnum() and len(substitute) <= MOST_PRODUCT


def _parsed(adapter: TypeAdapter[Any], raw: bytes) -> Any:
    try:
        return adapter.validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise Unfit(Met.UNPARSABLE, printable(f"{where}: {first['msg']}")) from None
