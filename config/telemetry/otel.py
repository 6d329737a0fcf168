"""OpenTelemetry, set up so that it costs an order little and can stop none: spans go to a bounded queue, from which a
thread sends them by OTLP/HTTP, and what a collector that is down or slow does not take is dropped.

Not global, so that nothing else in the process begins to trace. After a fork a process makes its own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from config.telemetry.spans import Attributes, Kind, Span

CALL_TIMEOUT: Final = 2.0  # seconds for one call to the collector
SEND_EVERY: Final = 1000  # milliseconds between two calls
MOST_WAITING: Final = 8192  # spans
LAST_WAIT: Final = 3.0  # seconds that the end of a process waits for the collector
KINDS: Final = {
    "server": SpanKind.SERVER,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
}


class OpenTelemetry:
    """Records spans of one process."""

    def __init__(self, endpoint: str, share: float, service: str) -> None:
        """Nothing connects yet. `share` of the traces that begin here are recorded, and all that began recorded."""
        for noisy in ("opentelemetry", "urllib3"):  # a collector that is down is said by what it lacks
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
        resource = Resource.create(
            {"service.name": service, "service.version": version("relais"), "service.instance.id": str(uuid4())}
        )
        sampler = ParentBased(TraceIdRatioBased(share))
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint.rstrip("/") + "/v1/traces", timeout=CALL_TIMEOUT)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=MOST_WAITING, schedule_delay_millis=SEND_EVERY)
        )
        self._tracer = self._provider.get_tracer("relais", version("relais"))

    def start(self, name: str, kind: Kind, parent: str | None, attributes: Attributes, links: Sequence[str]) -> Span:
        """Begin a span under `parent`, or a new trace."""
        # An empty context, or the tracer would look for a parent in one of its own.
        context = Context()
        if parent is not None:
            context = trace.set_span_in_context(NonRecordingSpan(_context(parent)), context)
        return _Recorded(
            self._tracer.start_span(
                name, context, KINDS[kind], _known(attributes), [Link(_context(each)) for each in links]
            )
        )

    def end(self) -> None:
        """Hand over what is recorded. The thread that does is not waited for longer than LAST_WAIT."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(LAST_WAIT)


class _Recorded(Span):
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(_known(attributes))

    def end(self, error: str | None = None) -> None:
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


def _known(attributes: Attributes) -> dict[str, str | int]:
    return {name: value for name, value in attributes.items() if value is not None}


def _context(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16) & 1))
