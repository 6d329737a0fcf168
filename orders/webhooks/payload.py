"""What a webhook is told of an order: a JSON payload, signed as Standard Webhooks asks.

The event is told as it was written, not as the order is when the receiver gets to hear of it, and never with the
order's note, which may be about a patient. See https://www.standardwebhooks.com and docs/webhooks.md.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from orders.receipt_lines import UNTOLD, told

SECRET_PREFIX: Final = "whsec_"
SECRET_SIZE: Final = 32  # bytes
TEST: Final = "relais.test"


def new_secret() -> str:
    """A secret to sign with: `whsec_` and 32 random bytes in base64."""
    return SECRET_PREFIX + b64encode(secrets.token_bytes(SECRET_SIZE)).decode()


def signed(webhook_id: UUID, timestamp: int, body: bytes, keys: Sequence[str]) -> dict[str, str]:
    """The headers that go with `body`: one signature for each secret; `timestamp` in seconds since 1970."""
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": str(webhook_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(key, content) for key in keys),
    }


def payload(event: Mapping[str, Any]) -> bytes:
    """The body for an event: {type, timestamp, data}.

    `event` has at, state, reason, error; order_id, pharmacy, reference, body; attempts (None when the order has moved
    on since), erp_reference and receipt (the ERP's lines as JSON, or None).
    """
    receipt = {line["line"]: line for line in told(json.loads(event["receipt"] or "[]"))}
    ordered = json.loads(event["body"])["lines"]
    return _body(
        f"order.{event['state']}",
        event["at"],
        {
            "id": str(event["order_id"]),
            **{name: event[name] for name in ("pharmacy", "reference", "state", "reason", "error", "attempts")},
            "erp_reference": event["erp_reference"],
            "lines": [_line(number, line, receipt.get(number)) for number, line in enumerate(ordered, 1)],
        },
    )


def trial(client: str) -> bytes:
    """The body of an event about no order, for a receiver to be tried with."""
    return _body(TEST, datetime.now(UTC), {"client": client})


def _line(number: int, ordered: Mapping[str, Any], answered: Mapping[str, Any] | None) -> dict[str, Any]:
    """A line as ordered, in boxes, and what the ERP says of it; None where it has accepted no order.

    What comes later is not missing: whoever orders that elsewhere would get it twice.
    """
    line = {"line": number, "product": ordered["product"], "quantity": ordered["quantity"]}
    if answered is None:
        return {**line, "accepted": None, "missing": None, **dict.fromkeys(UNTOLD)}
    accepted = answered["accepted"]
    missing = ordered["quantity"] - accepted - answered["back_ordered"]
    return {**line, "accepted": accepted, "missing": missing, **{name: answered[name] for name in UNTOLD}}


def _body(kind: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    timestamp = at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    event = {"type": kind, "timestamp": timestamp, "data": data}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _signature(secret: str, content: bytes) -> str:
    key = b64decode(secret.removeprefix(SECRET_PREFIX))
    return "v1," + b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
