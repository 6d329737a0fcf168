"""The exception tree of Relais; the class decides what happens, in one place each.

RelaisError
├── Malformed        refused at intake (422): every fault named, nothing journalled
├── TooLarge         the body is larger than any order can be (413)
├── Conflict         the reference is known with other content (409)
├── KeyReused        the Idempotency-Key was used for another order (422)
├── TooLate          the order is with the ERP, or final: it cannot be cancelled any more (409)
├── JournalDown      neither PostgreSQL nor the spill can take the order now (503, retry)
├── Busy             more at once than this intake takes (503, retry)
├── Throttled        more than this client may hand over (429, retry)
├── Unauthorised     no API key, a wrong one or one that is out of force (401)
├── Forbidden        the API key does not open this (403)
├── ClientExists     a client of that name was added before; WebhookExists likewise (exit 1)
├── SpoolError       the client's spool cannot be opened, read or written (orders/client/spool_file.py)
│   └── SpoolFull    it holds as much as it may
├── NotSo            things do not stand as an operator's act needs them to (exit 1)
└── NotFound         no such order, client or backend (404, exit 1)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an order: where (`lines.3.product`), the line's number from 1 or None, and what."""

    field: str
    line: int | None
    message: str


PAST = Fault("valid_until", None, "this time has passed")  # said by the intake, and of what it took in time


class RelaisError(Exception):
    """Anything that Relais itself has to say."""


class Malformed(RelaisError):
    """The input is no order; `faults` holds every reason, at least one."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))
        self.faults = faults


class TooLarge(RelaisError):
    """The body is larger than any order can be."""


class Conflict(RelaisError):
    """(pharmacy, reference) was accepted before with other content; `first` is that order's id."""

    def __init__(self, first: str) -> None:
        super().__init__(f"this reference was accepted with other content as order {first}")
        self.first = first


class KeyReused(RelaisError):
    """The Idempotency-Key came before with another order, whose id is `first`."""

    def __init__(self, first: str) -> None:
        super().__init__(f"this Idempotency-Key was used for order {first}, which is another one")
        self.first = first


class TooLate(RelaisError):
    """The order cannot be cancelled any more; `state` says where it is."""

    def __init__(self, state: str, why: str) -> None:
        super().__init__(why)
        self.state = state


class JournalDown(RelaisError):
    """The order cannot be taken now; nothing is known to be on disk."""


class Busy(RelaisError):
    """The intake has as much in hand as it takes; load is shed before memory is."""


class Throttled(RelaisError):
    """The client is over its rate; `retry_after` seconds from now it has room again."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("this client hands over more than its rate allows")
        self.retry_after = retry_after


class Unauthorised(RelaisError):
    """The caller has shown no API key that is in force."""


class Forbidden(RelaisError):
    """The caller's API key is in force and does not open this."""


class NotSo(RelaisError):
    """Things do not stand as an operator's act needs them to; nothing was done."""


class NotFound(RelaisError):
    """Nothing goes by that name."""
