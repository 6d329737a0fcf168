"""One line of JSON an event, whatever is logged and by whom; and a reader that is slow or gone stops nobody."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from config.telemetry import logs, order_log
from config.telemetry.log_writer import MOST_WAITING

log = logging.getLogger("relais.test")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the logs go during the test."""
    hooks = sys.excepthook, threading.excepthook, warnings.showwarning
    stream = io.StringIO()
    logs.setup("INFO", stream)
    yield stream
    sys.excepthook, threading.excepthook, warnings.showwarning = hooks


def said(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_an_event_is_one_object_of_fields_in_utc(stream: io.StringIO) -> None:
    log.info("settled", extra={"backend": "erp", "rate": 1.5, "orders": 3, "why": "two words", "none": None})
    found = said(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {
        "level": "info",
        "logger": "relais.test",
        "event": "settled",
        "backend": "erp",
        "rate": 1.5,
        "orders": 3,
        "why": "two words",
        "none": None,
    }


def test_below_its_level_nothing_is_logged(stream: io.StringIO) -> None:
    log.debug("quiet")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("text", ['a\n{"level":"error"}', "\x1b[2J", "a\u2028b", "\ud800", "", 'x="y'])
def test_no_value_breaks_the_line(stream: io.StringIO, form: logs.Form, text: str) -> None:
    logs.setup("INFO", stream, form=form)
    log.warning("told", extra={"value": text})
    assert stream.getvalue().rstrip("\n").isprintable()
    if form == "json":
        assert list(said(stream)) == ["time", "level", "logger", "event", "value"]


def test_an_exception_is_its_class_first_line_and_origin_without_rows_and_values(stream: io.StringIO) -> None:
    def insert() -> None:
        raise ValueError('bad value "Mme Dupont"\nDETAIL: Failing row contains (Mme Dupont)')

    try:
        insert()
    except ValueError:
        log.exception("lost")
    found = said(stream)
    assert found["error"] == "ValueError: bad value …"
    assert re.fullmatch(r"test_logs\.py:\d+>test_logs\.py:\d+", found["at"])
    assert "Dupont" not in stream.getvalue()


def test_of_a_foreign_message_only_what_is_constant_is_kept(stream: io.StringIO) -> None:
    args = ("Mme Dupont", 3, OSError("Mme Dupont"))
    logging.getLogger("celery.any").error("Message %r came %d times: %s\nDupont", *args, extra={"data": "Dupont"})
    assert said(stream)["event"] == "Message … came 3 times: OSError"
    assert "Dupont" not in stream.getvalue()


def test_what_nobody_caught_is_a_line_too(stream: io.StringIO) -> None:
    def fail() -> None:
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    found = said(stream)
    assert (found["level"], found["error"]) == ("critical", "RuntimeError: in a thread")


def test_the_request_in_hand_is_named(stream: io.StringIO) -> None:
    token = logs.REQUEST.set("r-17")
    log.info("looked")
    logs.REQUEST.reset(token)
    assert said(stream)["request"] == "r-17"


def test_a_long_value_is_cut(stream: io.StringIO) -> None:
    log.info("long", extra={"value": "x" * 5000})
    assert len(stream.getvalue()) < 600


def test_setup_again_replaces_the_handler(stream: io.StringIO) -> None:
    logs.setup("WARNING", sys.stderr)
    log.warning("elsewhere")
    assert stream.getvalue() == ""
    assert len(logging.getLogger().handlers) == 1


def test_a_step_is_a_line_an_order_whatever_its_values(stream: io.StringIO) -> None:
    hostile = 'x"}\n{"level":"error"\u2028\ud800' + "y" * 1000
    rows: list[dict[str, order_log.Field]] = [
        {"order": uuid4(), "request": hostile, "status": 201, "reason": None} for _ in range(3)
    ]
    order_log.say("settle", rows)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [each["order"] for each in found] == [str(row["order"]) for row in rows]
    assert all(list(each) == ["time", "level", "logger", "event", "order", "request", "status"] for each in found)
    assert all(each["status"] == 201 and each["request"] == hostile[:200] for each in found)


def test_steps_can_be_turned_off(stream: io.StringIO) -> None:
    logs.setup("INFO", stream, steps=False)
    order_log.say("settle", [{"order": uuid4()}])
    logs.setup("WARNING", stream)
    order_log.say("settle", [{"order": uuid4()}])
    assert stream.getvalue() == ""


def test_a_reader_that_is_slow_holds_nobody_up_and_learns_what_it_missed(stream: io.StringIO) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as end:
        logs.setup("INFO", end)
        began = time.monotonic()
        count = 2 * MOST_WAITING // 200
        for number in range(count):
            log.info("said", extra={"number": number, "padding": "x" * 200})
        assert time.monotonic() - began < 5, "nobody reads, and nobody waits"
        got: list[bytes] = []

        def read() -> None:
            while chunk := os.read(reading, 1 << 20):
                got.append(chunk)

        reader = threading.Thread(target=read)
        reader.start()
        logging.getLogger().handlers[0].flush()
    reader.join()
    os.close(reading)
    found = [json.loads(line) for line in b"".join(got).splitlines()]
    numbers = [each["number"] for each in found if each["event"] == "said"]
    assert numbers == list(range(len(numbers))), "what came is whole and in order"
    assert sum(each["lines"] for each in found if each["event"] == "lines were dropped") == count - len(numbers) > 0


def test_a_reader_that_is_gone_is_no_error(stream: io.StringIO) -> None:
    reading, writing = os.pipe()
    end = os.fdopen(writing, "w")
    logs.setup("INFO", end)
    os.close(reading)
    log.info("to nobody")
    log.info("again")
    logging.getLogger().handlers[0].flush()
    end.close()
    log.info("the descriptor is closed")
