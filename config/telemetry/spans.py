"""A span that nobody records, and the one of the request in hand: what every room may import of traces."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final, Literal

Kind = Literal["server", "producer", "consumer", "client"]
Value = str | int | None
Attributes = Mapping[str, Value]
NONE: Final[Attributes] = {}


class Span:
    """A span that nobody records; `traceparent` is its context, None while traces are off."""

    traceparent: str | None = None

    def note(self, attributes: Attributes) -> None:
        """Add attributes; those that are None are left out."""

    def end(self, error: str | None = None) -> None:
        """It is over; `error` names what went wrong, in a word."""


NOTHING: Final = Span()
CURRENT: Final[ContextVar[Span]] = ContextVar("span", default=NOTHING)  # of the request in hand
