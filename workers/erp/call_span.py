"""The span of one call to the ERP; its context goes along as `traceparent`, for the ERP's own spans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from config.telemetry import traces
from config.telemetry.spans import Span
from workers.erp.port import Kind

WELL: Final = frozenset({Kind.ACCEPTED, Kind.DUPLICATE, Kind.PENDING, Kind.REFUSED})


class Call:
    """One call: the context to send, and what it met."""

    def __init__(self, span: Span, parent: str) -> None:
        """`parent` is sent along where nothing is recorded any more."""
        self.traceparent = span.traceparent or parent
        self._span = span
        self.error: str | None = "cancelled"

    def met(self, kind: Kind, status: int | None) -> None:
        """What came of it."""
        self._span.note({"http.response.status_code": status, "relais.outcome": kind})
        self.error = None if kind in WELL else str(kind)


@contextmanager
def calling(parent: str, host: str | None, port: int | None) -> Iterator[Call]:
    """A span under `parent` while the ERP at host and port is called."""
    about = {"http.request.method": "POST", "url.path": "/orders", "server.address": host, "server.port": port}
    span = traces.start("POST /orders", "client", parent, about)
    call = Call(span, parent)
    try:
        yield call
    finally:
        span.end(call.error)
