"""The ERP port: a small protocol over batches, and an outcome per order.

A connector never raises for what an ERP does: every foreign failure is translated, at this border, into an
`Outcome` whose kind decides what becomes of it (`workers.delivery.retry_policy`). Order ids are the idempotency keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from pydantic import TypeAdapter

from orders.receipt_lines import Day  # pydantic reads it

if TYPE_CHECKING:
    from orders.model import Order

MOST_KEPT: Final = 64 * 1024  # bytes of an answer that are kept as evidence


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


class Evidence(StrEnum):
    """What speaks against a backend. All but the last three are conclusive: the backend goes into quarantine."""

    MISSING_SIGNATURE = "missing_signature"  # where receipts must be signed
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"  # not registered for this backend, or out of force
    WRONG_DIGEST = "wrong_digest"  # a receipt for other bytes than were sent
    WRONG_LINES = "wrong_lines"  # a receipt for other lines or products, or for more than was ordered
    LATE_OR_EARLY = "late_or_early"  # signed at a time that cannot be
    WRONG_CERTIFICATE = "wrong_certificate"  # another than the pinned one
    REFERENCE_REUSED = "reference_reused"  # the ERP's reference is another order's
    UNSENT_ORDER = "unsent_order"  # it speaks of an order that it was never sent or asked about
    TAKEN_TWICE = "taken_twice"  # it has the order more than once, where its reference does not prevent that
    REFUSALS = "refusals"  # far more than it usually refuses
    ANSWER_IN_QUARANTINE = "answer_in_quarantine"  # came when it was no longer trusted

    @property
    def conclusive(self) -> bool:
        """Whether it is proof, rather than merely odd or kept for the record."""
        return self not in (Evidence.TAKEN_TWICE, Evidence.REFUSALS, Evidence.ANSWER_IN_QUARANTINE)


@dataclass(frozen=True, slots=True)
class ErpReceiptLine:
    """What the ERP accepted of one line: its number from 1, product as ordered (CIP13), quantity in boxes, why less.

    `substitute` is the product that it delivers in its place, of which `accepted` then counts the boxes. `back_ordered`
    boxes come later, beside those that are accepted; `expected` is the day, None where the ERP tells none.
    """

    line: int
    product: str
    accepted: int
    reason: str | None = None
    substitute: str | None = None
    back_ordered: int = 0
    expected: Day | None = None


@dataclass(frozen=True, slots=True)
class ErpReceipt:
    """The ERP's acknowledgement: its own reference, the SHA-256 it computed of what it received, its lines.

    `key_id` is of the registered key that signed it, None where no signature was verified.
    """

    reference: str
    digest: bytes | None
    lines: tuple[ErpReceiptLine, ...]
    signature: str | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one order; `status` is HTTP's where there was one, `retry_after` is in seconds, `calls` says how
    many brief tries it took.

    `evidence` is what the answer proves against the backend; `answer` is its body as it came, MOST_KEPT bytes of it.
    """

    kind: Kind
    detail: str = ""
    status: int | None = None
    receipt: ErpReceipt | None = None
    retry_after: float | None = None
    started: datetime | None = None
    ended: datetime | None = None
    evidence: Evidence | None = None
    answer: bytes = b""
    calls: int = 1


@dataclass(frozen=True, slots=True)
class Mapped:
    """What the backend's ERP calls an order's pharmacy and its products: an article for each line, in turn.

    `price_list` and `warehouse` are the pharmacy's, None where the mapping names none.
    """

    customer: str
    price_list: str | None
    warehouse: str | None
    articles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Submission:
    """One order on its way out: id, canonical bytes as journalled, their SHA-256, the request that brought it, and
    the span that its calls belong to, None where it is not traced.

    `order` is what the bytes say; a worker always gives it. `mapped` is there for a connector that asks for it.
    """

    id: UUID
    body: bytes
    digest: bytes
    request_id: str | None = None
    traceparent: str | None = None
    order: Order | None = None
    mapped: Mapped | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One order that a backend holds: id, the SHA-256 of what it received where it tells one, its own
    reference, when it took it.
    """

    id: UUID
    digest: bytes | None
    reference: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """Some of the orders that a backend holds, in the turn in which it took them.

    `next` asks for those that follow, None when there are none. `failed` says why nothing was told.
    """

    orders: tuple[Listed, ...] = ()
    next: str | None = None
    failed: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do."""

    idempotent: bool = True  # honours the key: the same order twice has one effect
    atomic_batches: bool = False  # takes many orders in one call, all or nothing
    asynchronous: bool = False  # may answer PENDING
    can_find: bool = True  # can tell whether it has an order
    can_list: bool = False  # can tell which orders it has; a connector may find out that it cannot
    max_batch: int = field(default=1)  # most orders in one call; a connector may find out what fits
    mapped: bool = False  # needs to be told what the ERP calls pharmacies and products
    echoes_digest: bool = True  # its receipts say which bytes it received
    unique_reference: bool = True  # the ERP itself refuses a second order of one reference
    absent_after: float = 0.0  # seconds after the last sending before "not found" may be believed; until then UNKNOWN
    ack_within: float | None = None  # seconds in which it should have decided on what it was sent; later is overdue


class Barrier(Protocol):
    """Whether anything may be sent to a backend now, as one process knows it."""

    async def open(self) -> bool:
        """Open it where that may be; whether it is. Never raises."""

    def is_open(self) -> bool:
        """Asked before every order, and at the moment at which a request is handed to the network."""

    def shut(self) -> None:
        """Nothing further is sent, until it is opened."""


class OpenBarrier:
    """The barrier of who needs none."""

    async def open(self) -> bool:
        """It is."""
        return True

    def is_open(self) -> bool:
        """Always."""
        return True

    def shut(self) -> None:
        """No effect."""


class Erp(Protocol):
    """One backend."""

    capabilities: Capabilities

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        """Forward the orders within `budget` seconds; one outcome for each, UNSENT for those never begun."""

    async def find(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """What the ERP knows of each id: ACCEPTED, PENDING or REFUSED if it has it, ABSENT if it surely has it not,
        UNKNOWN if it could not be asked, SUSPICIOUS if it answered as no fit ERP does. Receipts are not verified.
        Who asks takes ABSENT for UNKNOWN until `absent_after` is over.
        """

    async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """The present state of orders that were PENDING; as `find`, and REFUSED where the ERP decided so."""

    async def list(self, since: datetime, until: datetime, *, after: str | None, budget: float) -> Listing:
        """A page of the orders that the ERP took from `since` on and before `until`, by its own clock; `after` is
        `next` of the page before. For a backend that `can_list`; one that turns out not to says so from then on.
        """

    async def probe(self) -> bool:
        """True when the ERP says that it is fit to receive. Never raises."""

    async def close(self) -> None:
        """Let go of connections."""


LINES = TypeAdapter(tuple[ErpReceiptLine, ...])
