"""The exception tree of Relais; the class decides what happens, in one place each.

RelaisError
├── Malformed        refused at intake (422): every fault named, nothing journalled
├── TooLarge         the body is larger than any order can be (413)
├── Conflict         the reference is known with other content (409)
├── JournalDown      PostgreSQL cannot be reached or did not answer in time (503, retry)
├── Unauthorised     no API key, a wrong one or a revoked one (401)
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


class JournalDown(RelaisError):
    """The journal cannot take the order now; nothing is known to be on disk."""


class Unauthorised(RelaisError):
    """The caller has shown no API key that is in force."""


class NotFound(RelaisError):
    """Nothing goes by that name."""
