"""Traces, for who wants them: the spans of an order's walk, as OpenTelemetry has them; nothing at all when off.

This is all that the rest of Relais knows of it: `begin` for the process, spans that cost nothing while nobody
listens, and contexts as the W3C writes them (`traceparent`), for they travel with the order, through the journal and
the queue to the ERP. OpenTelemetry itself is imported only where RELAIS_OTEL_ENDPOINT is set (`config.telemetry.otel`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from config.settings import MissingSetting, Settings
from config.telemetry.spans import NONE, NOTHING, Attributes, Kind, Span

if TYPE_CHECKING:
    from config.telemetry.otel import OpenTelemetry

_PARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL
)
_KNOWN: Final = 0x03  # flags: sampled, random


_tracing: OpenTelemetry | None = None


def begin(settings: Settings, service: str) -> None:
    """Record from now on, under this name, where the settings ask for it; once more after a fork.

    Raises MissingSetting when they ask for it and OpenTelemetry is not installed.
    """
    global _tracing  # noqa: PLW0603 - a process has one, like its logging
    if settings.telemetry.otel_endpoint is None:
        return
    try:
        from config.telemetry.otel import OpenTelemetry
    except ImportError as error:
        why = "RELAIS_OTEL_ENDPOINT is set, and OpenTelemetry is not installed: pip install 'relais[otel]'"
        raise MissingSetting(why) from error
    _tracing = OpenTelemetry(settings.telemetry.otel_endpoint, settings.telemetry.otel_sample, service)


def end() -> None:
    """Stop recording, and hand over what is recorded; a collector that is down is not waited for long."""
    global _tracing
    tracing, _tracing = _tracing, None
    if tracing is not None:
        tracing.end()


def on() -> bool:
    """Whether spans are recorded."""
    return _tracing is not None


def start(
    name: str, kind: Kind, parent: str | None = None, attributes: Attributes = NONE, links: Sequence[str] = ()
) -> Span:
    """Begin a span under `parent`, or a new trace; `links` are contexts that it also has to do with."""
    return NOTHING if _tracing is None else _tracing.start(name, kind, parent, attributes, links)


def recorded(traceparent: str | None) -> bool:
    """Whether what follows from this context is to be recorded: traces are on, and it was sampled."""
    return _tracing is not None and traceparent is not None and bool(int(traceparent[-2:], 16) & 1)


def read(header: str | None) -> str | None:
    """A context that came from outside, if it is one (https://www.w3.org/TR/trace-context/, 3.2 and 4.3).

    A later version may say more behind a dash; ours may not. Flags that nobody knows are not passed on.
    """
    found = _PARENT.fullmatch((header or "").strip(" \t"))
    if found is None or (found[1] == "00" and found[5] is not None):
        return None
    return f"00-{found[2]}-{found[3]}-{int(found[4], 16) & _KNOWN:02x}"
