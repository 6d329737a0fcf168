"""Traces are off unless asked for, a header is a context or nothing, and nobody waits for a collector."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from config.settings import MissingSetting, Settings
from config.telemetry import traces
from workers.delivery.tracing import header, read_header

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Traces go to a collector that takes connections and never answers."""
    monkeypatch.setattr("config.telemetry.otel.LAST_WAIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        traces.begin(Settings(otel_endpoint=url, otel_sample=0.0, _env_file=None), "relais-test")
        yield
        traces.end()


@pytest.mark.parametrize(
    ("said", "read"),
    [
        (PARENT, PARENT),
        (PARENT.replace("00-", "cc-", 1) + "-what-the-future-brings", PARENT),
        (PARENT.replace("00-", "ff-", 1), None),
        (PARENT.upper(), None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01", None),
        ("Mme Dupont", None),
        ("", None),
        (None, None),
    ],
)
def test_only_a_context_is_read(said: str | None, read: str | None) -> None:
    assert traces.read(said) == read


def test_off_nothing_is_imported_and_no_span_has_a_context() -> None:
    code = (
        "import sys, workers.worker, orders.api; from config.telemetry import traces\n"
        "from config.settings import Settings\n"
        "traces.begin(Settings(_env_file=None), 'x'); span = traces.start('x', 'server')\n"
        "print(traces.on(), span.traceparent, {'config.telemetry.otel', 'opentelemetry.exporter'} & sys.modules.keys())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert said == "False None set()\n"


def test_asked_for_and_not_installed_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "config.telemetry.otel", None)
    with pytest.raises(MissingSetting, match=r"relais\[otel\]"):
        traces.begin(Settings(otel_endpoint="http://127.0.0.1:4318", _env_file=None), "relais-test")
    assert not traces.on()


@pytest.mark.usefixtures("tracing")
def test_what_began_sampled_goes_on_and_the_rest_is_a_matter_of_the_share() -> None:
    goes_on, begins = traces.start("x", "server", PARENT), traces.start("x", "server")
    assert goes_on.traceparent is not None and begins.traceparent is not None
    assert (goes_on.traceparent[:36], goes_on.traceparent[-2:]) == (PARENT[:36], "01")
    assert int(begins.traceparent[-2:], 16) & 1 == 0
    assert traces.recorded(goes_on.traceparent)
    assert not traces.recorded(begins.traceparent)
    assert not traces.recorded(None)


@pytest.mark.usefixtures("tracing")
def test_a_deaf_collector_holds_nobody_up() -> None:
    began = time.monotonic()
    for _ in range(10_000):
        traces.start("x", "server", PARENT).end()
    assert time.monotonic() - began < 5
    traces.end()
    assert time.monotonic() - began < 6.5


@pytest.mark.usefixtures("tracing")
def test_a_message_says_of_each_order_which_dispatch_it_was() -> None:
    ids = [uuid4(), uuid4()]
    assert read_header(header({ids[1]: PARENT}, ids), ids) == {ids[1]: PARENT}
    assert header({}, ids) == []
    for forged in (None, "x", [1, {}], ["Mme Dupont"], {"a": 1}):
        assert read_header(forged, ids) == {}


TRACE, SPAN = "12345678901234567890123456789012", "1234567890123456"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f" 00-{TRACE}-{SPAN}-00\t", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-03"),
        (f"cc-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f"cc-{TRACE}-{SPAN}-01-what-comes", f"00-{TRACE}-{SPAN}-01"),
        (f"00-{TRACE}-{SPAN}-01-what-comes", None),
        (f"00-{TRACE}-{SPAN}-01.", None),
        (f"00-{TRACE}-{SPAN}-001", None),
        (f"cc-{TRACE}-{SPAN}-01.x", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.replace('1', 'A')}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        ("", None),
        (None, None),
    ],
)
def test_a_context_from_outside_is_read_as_the_w3c_has_it(header: str | None, found: str | None) -> None:
    assert traces.read(header) == found
