"""What an order is called where a UUID is too long or not allowed: the same name every time."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from typing import Final
from uuid import UUID

CONTROL: Final = 14  # characters of UNB's 0020, 70 bits


def number_of(order_id: UUID) -> str:
    """The number under which an order is ordered: its id in 32 characters, all of them in UNOA."""
    return order_id.hex.upper()


def control_of(order_id: UUID) -> str:
    """The control reference of the interchange with an order, 14 characters; and the name of its directory."""
    return base64.b32encode(hashlib.sha256(order_id.bytes).digest())[:CONTROL].decode()


def names_of(order_id: UUID) -> dict[str, str]:
    """What a name of a file or a field of a template may say of an order's id."""
    return {"id": str(order_id), "order": number_of(order_id), "control": control_of(order_id)}


def id_in(number: str) -> UUID | None:
    """The order's id in an answer, however it is written; None where it is no id."""
    with suppress(ValueError):
        return UUID(number.strip())
    return None


def is_control(reference: str) -> bool:
    """Whether a control reference is one that we give: no other may lead to a directory."""
    return len(reference) == CONTROL and set(reference) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
