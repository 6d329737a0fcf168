"""A seal: what it says of a block, how that is written down, and how it is signed and verified.

It is written as canonical JSON (RFC 8785: keys sorted, no spaces), the same in the anchor as under the signature:
whoever has the line of an anchor and the public key can verify it without the journal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import select, text

from orders.audit_codes import AuditCode
from orders.schema.tables.proof import seals
from orders.sentences import Sentence
from workers.proof.keys import Keys, SealKey

FORMAT: Final = 4  # of what a new seal covers and how it is written; `workers.proof.block_content` keeps the older ones
PURPOSE: Final = b"relais.seal."
ACKNOWLEDGED: Final = "acknowledged by "  # begins an operator's word on a loss
MALFORMED: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
FIRST: Final = bytes(32)  # stands for the seal before the first

SEALS = select(seals).order_by(seals.c.block)
INSERT = text("""
INSERT INTO seals (block, format, epoch, from_tx, to_tx, tables, sealed_at, why, previous, mac, key_id, signature)
VALUES (:block, :format, :epoch, :from_tx, :to_tx, CAST(:tables AS jsonb), :sealed_at, :why, :previous, :mac, :key_id,
  :signature)
""")


@dataclass(frozen=True, slots=True)
class Content:
    """What a block holds of one table: how many rows, and the SHA-256 of their bytes in hexadecimal."""

    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Seal:
    """One block: its place in the chain, its content, its signatures. `to_tx` is not in it any more."""

    block: int
    epoch: int
    from_tx: int
    to_tx: int
    tables: Mapping[str, Content]
    sealed_at: datetime
    why: str | None
    previous: bytes
    key_id: str
    mac: bytes = b""
    signature: bytes = b""
    format: int = FORMAT

    @property
    def rows(self) -> int:
        """Of all its tables."""
        return sum(content.rows for content in self.tables.values())

    def message(self) -> bytes:
        """What the mac is of."""
        return PURPOSE + b"%d\n" % self.format + _canonical(self._said())

    def line(self) -> str:
        """The seal as an anchor holds it: one line of JSON."""
        signed = {"mac": self.mac.hex(), "signature": self.signature.hex()}
        return _canonical({**self._said(), **signed}).decode()

    def values(self) -> dict[str, Any]:
        """The columns of its row."""
        columns = asdict(self)
        return {**columns, "tables": _canonical(columns["tables"]).decode()}

    def _said(self) -> dict[str, Any]:
        micros = self.sealed_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        told = {name: value for name, value in asdict(self).items() if name not in ("mac", "signature")}
        return {**told, "sealed_at": micros, "previous": self.previous.hex()}


def signed(seal: Seal, key: SealKey) -> Seal:
    """The seal with its mac and signature."""
    mac = key.mac(seal.message())
    return replace(seal, mac=mac, signature=key.sign(seal.message() + b"\n" + mac))


def doubt(seal: Seal, keys: Keys) -> Sentence | None:
    """Why the seal is not to be believed, or None: its own signatures only, not its place in the chain."""
    key = keys.get(seal.key_id)
    if key is None:
        return Sentence(AuditCode.UNKNOWN_SEAL_KEY, key=seal.key_id)
    if key.mac(seal.message()) != seal.mac or not key.verifies(seal.message() + b"\n" + seal.mac, seal.signature):
        return Sentence(AuditCode.ALTERED_SEAL)
    return None


def believed(row: Any, keys: Keys) -> Seal | Sentence:
    """The seal in a row of the table, or why it is not to be believed: its own signatures only."""
    try:
        seal = of_row(row)
        return doubt(seal, keys) or seal
    except MALFORMED:
        return Sentence(AuditCode.ALTERED_SEAL)


def of_row(row: Any) -> Seal:
    """The seal in a row of the table. Raises MALFORMED when it is none."""
    found = dict(row._mapping)
    tables = {str(name): Content(int(each["rows"]), str(each["sha256"])) for name, each in found["tables"].items()}
    return Seal(**{**found, "tables": tables})


def of_line(line: str | bytes) -> Seal:
    """The seal in a line of an anchor. Raises MALFORMED when it is none."""
    found = json.loads(line)
    hexes = {name: bytes.fromhex(found[name]) for name in ("previous", "mac", "signature")}
    tables = {name: Content(each["rows"], each["sha256"]) for name, each in found["tables"].items()}
    return Seal(**{**found, **hexes, "tables": tables, "sealed_at": datetime.fromisoformat(found["sealed_at"])})


def _canonical(value: object) -> bytes:
    """RFC 8785 for what seals hold: integers below 2^53, and texts."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
