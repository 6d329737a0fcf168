"""The spans of an order on its way from the dispatcher to the ERP, all under the request that brought it.

The context comes from the journal. What the message says of a dispatch is believed only where it is of the same
trace: whoever can write to Redis can forge nothing. Only orders whose request is recorded cost anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row

from config.telemetry import traces
from config.telemetry.spans import Attributes, Span
from workers.delivery.claim import Claimed
from workers.delivery.retry_policy import FAILED
from workers.erp.port import Kind, Outcome

ERRORS: Final = frozenset({*FAILED, Kind.THROTTLED})
TRACES: Final = "relais_traces"  # the header with the context of each order's dispatch, in the order of the ids

Contexts = Mapping[UUID, str]
NONE: Final[Contexts] = MappingProxyType({})


@contextmanager
def dispatching(backend: str, rows: Sequence[Row[Any]]) -> Iterator[Contexts]:
    """A span for the dispatch of each order that is traced; yields their contexts."""
    about = {"messaging.system": "celery", "messaging.operation.type": "send", "relais.backend": backend}
    spans = {
        row.order_id: traces.start(
            "dispatch", "producer", row.traceparent, {**about, "relais.order.id": str(row.order_id)}
        )
        for row in (rows if traces.on() else ())
        if traces.recorded(row.traceparent)
    }
    try:
        yield {order_id: span.traceparent for order_id, span in spans.items() if span.traceparent}
    finally:
        for span in spans.values():
            span.end()


def header(contexts: Contexts, ids: Sequence[UUID]) -> list[str]:
    """The contexts of a message's orders, empty for those that have none; nothing when none has one."""
    return [contexts.get(each, "") for each in ids] if any(each in contexts for each in ids) else []


def read_header(said: object, ids: Sequence[UUID]) -> Contexts:
    """What a message says of its orders' dispatches."""
    if not isinstance(said, list):
        return NONE
    found = {i: traces.read(each) for i, each in zip(ids, said, strict=False) if isinstance(each, str)}
    return {i: context for i, context in found.items() if context is not None}


@contextmanager
def delivering(backend: str, orders: Sequence[Claimed], dispatched: Contexts) -> Iterator[Mapping[UUID, Span]]:
    """A span for the batch, linked to its orders, and one for each order that is traced; yields the latter."""
    parents = {
        order.id: _parent(order.traceparent, dispatched.get(order.id))
        for order in (orders if traces.on() else ())
        if order.traceparent is not None and traces.recorded(order.traceparent)
    }
    if not parents:
        yield {}
        return
    about = {"messaging.system": "celery", "messaging.operation.type": "process", "relais.backend": backend}
    size: Attributes = {**about, "messaging.batch.message_count": len(orders)}
    batch = traces.start("deliver batch", "consumer", None, size, list(parents.values()))
    links = [batch.traceparent] if traces.recorded(batch.traceparent) and batch.traceparent else []
    spans = {
        order_id: traces.start("deliver", "consumer", parent, {**about, "relais.order.id": str(order_id)}, links)
        for order_id, parent in parents.items()
    }
    try:
        yield spans
    finally:
        for span in (*spans.values(), batch):
            span.end()


def _parent(journalled: str, said: str | None) -> str:
    return said if said is not None and said[3:35] == journalled[3:35] else journalled


def note_outcomes(spans: Mapping[UUID, Span], outcomes: Mapping[UUID, Outcome]) -> None:
    """What came of each traced order."""
    for order_id, span in spans.items():
        if (outcome := outcomes.get(order_id)) is not None:
            span.note({"relais.outcome": outcome.kind, "error.type": outcome.kind if outcome.kind in ERRORS else None})
