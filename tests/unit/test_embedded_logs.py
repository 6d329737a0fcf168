"""One line per event, whatever is logged."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from config import logs

log = logging.getLogger("relais.test")
FIELD = r'\w+=(?:"(?:\\.|[^"\\])*"|[^\s="\\]+)'


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the logs go during the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.setup("INFO", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_event_is_one_line_of_fields_in_utc(stream: io.StringIO) -> None:
    log.info("settled %d", 3, extra={"backend": "erp", "rate": 1.5, "why": "two words"})
    line = stream.getvalue()
    assert re.fullmatch(
        r'time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=info logger=relais\.test msg="settled 3" '
        r'backend=erp rate=1\.5 why="two words"\n',
        line,
    )


def test_below_its_level_nothing_is_logged(stream: io.StringIO) -> None:
    log.debug("quiet")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("text", ['a\nlevel=error msg="forged"', "\x1b[2J", "a\u2028b", "\ud800", "", 'x="y'])
def test_no_message_breaks_the_line_or_forges_a_field(text: str) -> None:
    line = logs.KeyValue().format(logging.makeLogRecord({"msg": "%s", "args": (text,), "levelname": "WARNING"}))
    assert line.isprintable()
    assert re.fullmatch(FIELD + rf"(?: {FIELD}){{3}}", line)


def test_an_exception_is_its_class_first_line_and_origin_without_the_row(stream: io.StringIO) -> None:
    def insert() -> None:
        raise ValueError("duplicate key\nDETAIL: Failing row contains (Mme Dupont)")

    try:
        insert()
    except ValueError:
        log.exception("lost")
    line = stream.getvalue()
    assert 'error="ValueError: duplicate key"' in line
    assert re.search(r"at=test_embedded_logs\.py:\d+>test_embedded_logs\.py:\d+", line)
    assert "Dupont" not in line


def test_a_long_value_is_cut(stream: io.StringIO) -> None:
    log.info("x" * 5000)
    assert len(stream.getvalue()) < 600


def test_setup_again_replaces_the_handler(stream: io.StringIO) -> None:
    logs.setup("WARNING", sys.stderr)
    log.warning("elsewhere")
    assert stream.getvalue() == ""
    assert len(logging.getLogger().handlers) == 1
