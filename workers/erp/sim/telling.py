"""What the simulated ERP says of an order that it took: a receipt, signed where it has a key, and its dial's lies.

A lie that is not about the signature is signed as well: a compromised ERP signs what it says.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from workers.erp.signing import sign
from workers.erp.sim.book import Book, Effect
from workers.erp.sim.dial import Dial, Tamper

LONG_AGO: Final = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Signer:
    """A key and its id."""

    private: Ed25519PrivateKey
    key_id: str


class Announcer:
    """Tells of the effects in a book."""

    def __init__(self, book: Book, signer: Signer | None) -> None:
        """Without a signer receipts are not signed."""
        self._book, self._signer = book, signer
        self._stranger = Signer(Ed25519PrivateKey.generate(), "stranger")

    def receipt(self, effect: Effect, dial: Dial) -> dict[str, Any]:
        """The receipt of an effect, true or as the dial has it."""
        tamper = dial.tamper if lot(effect["id"]) < dial.tamper_rate else "none"
        told: dict[str, Any] = {
            "reference": effect["reference"],
            "digest": effect["digest"],
            "lines": effect["lines"],
        }
        if tamper == "digest":
            told["digest"] = hashlib.sha256(effect["digest"].encode()).hexdigest()
        elif tamper == "quantity":
            first, *others = effect["lines"]
            told["lines"] = [{**first, "accepted": first["accepted"] + 1}, *others]
        elif tamper == "reference":
            told["reference"] = self._first()
        if self._signer is not None and tamper != "unsigned":
            told["signature"] = self._signature(self._signer, effect, told, tamper)
        return told

    def foreign(self, dial: Dial) -> list[dict[str, Any]]:
        """What a find says of orders that were not asked about: nothing, or a lie."""
        return (
            [{"id": str(uuid4()), "state": "pending", "reference": "SIM-OTHER"}] if dial.tamper == "other_order" else []
        )

    def _signature(self, signer: Signer, effect: Effect, told: dict[str, Any], tamper: Tamper) -> str:
        by = self._stranger if tamper == "other_key" else signer
        about = str(uuid4()) if tamper == "other_order" else effect["id"]
        at = datetime.now(UTC) - LONG_AGO if tamper == "time" else datetime.now(UTC)
        made = sign(by.private, by.key_id, about, at=at, **told)
        return _spoilt(made) if tamper == "signature" else made

    def _first(self) -> str:
        first = self._book.find(self._book.ids[0]) if self._book.ids else None
        return first["reference"] if first else "SIM-0000001"


def lot(order_id: str) -> float:
    """A number from 0 to 1 that is this order's, always the same."""
    return int.from_bytes(hashlib.sha256(order_id.encode()).digest()[:4]) / 2**32


def _spoilt(signature: str) -> str:
    """The same with another first letter of the signature proper."""
    signed, _, proper = signature.rpartition(".")
    return f"{signed}.{'B' if proper[0] == 'A' else 'A'}{proper[1:]}"
