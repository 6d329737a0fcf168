"""Logging for every process of Relais: one line per event on stderr, `key=value`, times in UTC.

What an order holds never reaches a log. An exception is reduced to its class and the first line of its message
(database drivers put rows and parameters on the next ones) and to where it came from.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, TextIO

MOST_CHARACTERS: Final = 400
MOST_FRAMES: Final = 6

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_BARE = re.compile(r"[^\s=\"\\]+")


class KeyValue(logging.Formatter):
    """Renders a record as `time=… level=… logger=… msg=…`, then its `extra` fields, then its exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, whatever its message holds."""
        fields: dict[str, object] = {
            "time": _iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        fields.update({name: value for name, value in vars(record).items() if name not in _OWN})
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = _sentence(record.exc_info[1])
            fields["at"] = _origin(record.exc_info[2])
        return " ".join(f"{name}={_quoted(str(value))}" for name, value in fields.items())


def setup(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (stderr); may be called again, the last call counts."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(KeyValue())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _sentence(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _origin(trace: TracebackType | None) -> str:
    """The innermost frames, outermost first: `tasks.py:41>claim.py:12`."""
    frames: list[str] = []
    while trace is not None:
        frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return ">".join(frames[-MOST_FRAMES:])


def _quoted(text: str) -> str:
    """The text as one word, or in quotes with everything escaped that could break the line or forge a field."""
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS] + "…"
    if _BARE.fullmatch(text) and text.isprintable():
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) + '"'
