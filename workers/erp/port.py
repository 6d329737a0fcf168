"""The ERP port: a small protocol over batches, and an outcome per order.

A connector never raises for what an ERP does: every foreign failure is translated, at this border, into an
`Outcome` whose kind decides the order's fate (`workers.fate`). Order ids are the idempotency keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class Kind(StrEnum):
    """What is known about an order after a call."""

    ACCEPTED = "accepted"  # the ERP has it: a receipt
    DUPLICATE = "duplicate"  # the ERP had it already: its first receipt
    PENDING = "pending"  # the ERP took it and accepts it later: poll
    REFUSED = "refused"  # the ERP will never take this order
    TRANSIENT = "transient"  # certainly not taken; may go again
    THROTTLED = "throttled"  # certainly not taken; the ERP asked for a pause
    UNKNOWN = "unknown"  # perhaps taken: ask `find` before sending again
    SUSPICIOUS = "suspicious"  # answered as no fit ERP answers: perhaps taken, and not to be trusted
    ABSENT = "absent"  # answer of `find` and `poll`: the ERP surely does not have it
    UNSENT = "unsent"  # never left us: the batch was stopped or its budget ran out


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """What the ERP accepted of one line: its number from 1, product (CIP13), quantity in boxes, and why less."""

    line: int
    product: str
    accepted: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The ERP's acknowledgement: its own reference, the SHA-256 it computed of what it received, its lines."""

    reference: str
    digest: bytes | None
    lines: tuple[ReceiptLine, ...]
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one order; `status` is HTTP's where there was one, `retry_after` is in seconds, `calls` says how
    many brief tries it took.
    """

    kind: Kind
    detail: str = ""
    status: int | None = None
    receipt: Receipt | None = None
    retry_after: float | None = None
    started: datetime | None = None
    ended: datetime | None = None
    calls: int = 1


@dataclass(frozen=True, slots=True)
class Submission:
    """One order on its way out: id, canonical bytes as journalled, their SHA-256, the request that brought it."""

    id: UUID
    body: bytes
    digest: bytes
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do."""

    idempotent: bool = True  # honours the key: the same order twice has one effect
    atomic_batches: bool = False  # takes many orders in one call, all or nothing
    asynchronous: bool = False  # may answer PENDING
    can_find: bool = True  # can tell whether it has an order
    max_batch: int = field(default=1)  # most orders in one call


class Erp(Protocol):
    """One backend."""

    capabilities: Capabilities

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        """Forward the orders within `budget` seconds; one outcome for each, UNSENT for those never begun."""
        ...

    async def find(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """What the ERP knows of each id: ACCEPTED, PENDING or REFUSED if it has it, ABSENT if it surely has it not,
        UNKNOWN if it could not be asked, SUSPICIOUS if it answered as no fit ERP does. Receipts are not verified.
        """
        ...

    async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """The present state of orders that were PENDING; as `find`, and REFUSED where the ERP decided so."""
        ...

    async def probe(self) -> bool:
        """True when the ERP says that it is fit to receive. Never raises."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
