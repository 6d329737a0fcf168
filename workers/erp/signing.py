"""Receipts that are signed: a JWS (RFC 7515) in compact form, `EdDSA` with an Ed25519 key (RFC 8037), so that any
stack can make one. What it buys and what it cannot is in docs/trust.md.

A signature is verified against the receipt that carries it and against the key's time in force; that the receipt is
for the very order that was sent is `receipts.verify`'s to say. The algorithm and the type are pinned: the signer does
not choose how it is verified.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, NotRequired
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError
from pydantic import AwareDatetime, ConfigDict, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import TypedDict  # pydantic takes the standard one only from Python 3.12 on

from orders.receipt_lines import Day
from workers.erp.failures import Met, Unfit, printable
from workers.erp.port import LINES, ErpReceipt, ErpReceiptLine

ALGORITHM: Final = "EdDSA"
TYPE: Final = "relais-receipt+jws"
_OPTIONAL: Final = ("substitute", "back_ordered", "expected")  # of a signed line: left out where they are null or 0

_JWS: Final = PyJWS(algorithms=[ALGORITHM])


@dataclass(frozen=True, slots=True)
class Key:
    """A backend's public key, in force until the earlier of its end and its revocation; None is for ever."""

    id: str
    public: Ed25519PublicKey
    until: datetime | None = None

    def in_force(self, at: datetime) -> bool:
        """Whether a receipt that was received at this time could be signed with it."""
        return self.until is None or at < self.until


class _Line(TypedDict):
    line: int
    product: str
    accepted: int
    substitute: NotRequired[str | None]
    back_ordered: NotRequired[int]
    expected: NotRequired[Day | None]


class _Signed(TypedDict):
    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]
    order: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F-]{36}$")]
    digest: str
    reference: str
    lines: list[_Line]
    at: int | float | AwareDatetime


_SIGNED: Final = TypeAdapter(_Signed)


def verified(
    signature: str,
    keys: Mapping[str, Key],
    order_id: UUID,
    receipt: ErpReceipt,
    *,
    at: datetime,
    drift: float,
    fresh: bool,
) -> str:
    """The id of the key that signed this receipt for this order, received `at`. Raises Unfit.

    The time that it was signed at may be `drift` seconds after `at`; as long before it where it is `fresh` (the order
    was taken just now), else as long before the order was made; an order of tomorrow is one from before a clock was
    set back.
    """
    key_id = _key_id(signature)
    key = keys.get(key_id)
    if key is None or not key.in_force(at):
        why = "is not registered" if key is None else "is not in force"
        raise Unfit(Met.UNKNOWN_KEY, printable(f"{key_id!r} {why}"))
    signed = _payload(signature, key)
    _compare(signed, order_id, receipt)
    _timely(_moment(signed["at"]), order_id, at, timedelta(seconds=drift), fresh=fresh)
    return key_id


def _key_id(signature: str) -> str:
    """The kid of the header, which nothing has verified yet: half the price of letting PyJWT read it twice."""
    head = signature.partition(".")[0]
    try:
        header = from_json(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        return str(header["kid"])[:64]
    except (ValueError, TypeError, KeyError):
        raise Unfit(Met.BAD_SIGNATURE, "it is no JWS that names a key") from None


def _payload(signature: str, key: Key) -> _Signed:
    try:
        read = _JWS.decode_complete(signature, key.public, algorithms=[ALGORITHM])
        if read["header"].get("typ") != TYPE:
            raise Unfit(Met.BAD_SIGNATURE, f"its type is not {TYPE}")
        return _SIGNED.validate_json(read["payload"])
    except PyJWTError as error:
        raise Unfit(Met.BAD_SIGNATURE, printable(str(error))) from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False)[0]["loc"])) or "payload"
        raise Unfit(Met.BAD_SIGNATURE, printable(f"what is signed has no good {where}")) from None


def _compare(signed: _Signed, order_id: UUID, receipt: ErpReceipt) -> None:
    """Raise Unfit unless what is signed is what the receipt says, of this order."""
    if signed["order"].lower() != str(order_id):
        raise Unfit(Met.UNSENT_ORDER, f"what is signed is for order {signed['order']}")
    if receipt.digest is None or signed["digest"] != receipt.digest.hex():
        raise Unfit(Met.WRONG_DIGEST, "what is signed is for other bytes")
    if signed["reference"] != receipt.reference:
        raise Unfit(Met.BAD_SIGNATURE, "what is signed has another reference")
    lines = [(e.line, e.product, e.accepted, e.substitute, e.back_ordered, e.expected) for e in receipt.lines]
    said = [
        (e["line"], e["product"], e["accepted"], e.get("substitute"), e.get("back_ordered", 0), e.get("expected"))
        for e in signed["lines"]
    ]
    if said != lines:
        raise Unfit(Met.WRONG_LINES, "what is signed has other lines")


def _timely(signed: datetime, order_id: UUID, at: datetime, drift: timedelta, *, fresh: bool) -> None:
    made = at if fresh else born(order_id)
    if signed > at + drift or (made is not None and signed < min(made, at) - drift):
        raise Unfit(Met.UNTIMELY, f"signed at {signed.isoformat()}")


def _moment(told: float | datetime) -> datetime:
    try:
        return told if isinstance(told, datetime) else datetime.fromtimestamp(told, UTC)
    except (OverflowError, ValueError, OSError):
        raise Unfit(Met.BAD_SIGNATURE, "what is signed has no good time") from None


def born(order_id: UUID) -> datetime | None:
    """When an order was made, which a UUIDv7 tells (RFC 9562, 5.7); None of another id."""
    return datetime.fromtimestamp((order_id.int >> 80) / 1000, UTC) if order_id.version == 7 else None


def sign(
    private: Ed25519PrivateKey,
    key_id: str,
    order_id: str,
    *,
    digest: str,
    reference: str,
    lines: Sequence[Mapping[str, object] | ErpReceiptLine],
    at: datetime,
) -> str:
    """The signature of a receipt, as an ERP or the signer beside it makes one."""
    told = [line if isinstance(line, Mapping) else LINES.dump_python((line,), mode="json")[0] for line in lines]
    signed = {
        "order": order_id,
        "digest": digest,
        "reference": reference,
        "at": at.isoformat(),
        "lines": [{n: line[n] for n in _Line.__annotations__ if n not in _OPTIONAL or line.get(n)} for line in told],
    }
    payload = json.dumps(signed, separators=(",", ":"), ensure_ascii=False).encode()
    return _JWS.encode(payload, private, algorithm=ALGORITHM, headers={"kid": key_id, "typ": TYPE})
