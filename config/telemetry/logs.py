"""Logging for every process of Relais: one JSON object a line on stderr, times in UTC, whatever is logged by whom.

Code logs through the standard library: a constant event, and what belongs to it as fields (`extra`). What an order
holds never reaches a log. An exception is reduced to its class and the first line of its message without what stands
in quotation marks (drivers and parsers put rows and values there), and to where it came from; of other people's
messages only the constant part is kept, and numbers.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import warnings
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import structlog

from config.settings import Settings
from config.telemetry.log_writer import Lines
from config.telemetry.visible import visible

MOST_CHARACTERS: Final = 400
MOST_FRAMES: Final = 6
STEPS: Final = "relais.steps"  # one line an order a step, rendered by `config.telemetry.order_log`
OURS: Final = frozenset({"relais", "config", "orders", "workers"})  # first parts of our loggers' names

REQUEST: Final[ContextVar[str | None]] = ContextVar("request", default=None)  # the id of the request in hand
SANE: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,64}")  # what can be the id of a request

Event = MutableMapping[str, Any]
Form = Literal["json", "console"]

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_QUOTED = re.compile(r"""(["'])(?:\\.|(?!\1).)*\1""")


def begin(settings: Settings, form: Form | None = None) -> None:
    """Log as the settings say, or in another form."""
    setup(settings.telemetry.log_level, form=form or settings.telemetry.log_format, steps=settings.telemetry.log_steps)


def setup(level: str = "INFO", stream: TextIO | None = None, *, form: Form = "json", steps: bool = True) -> None:
    """Send all logging of this process to `stream` (stderr); may be called again, the last call counts.

    Without `steps` nothing is said of single orders. What nobody caught is logged too.
    """
    handler = Lines(stream or sys.stderr)
    handler.setFormatter(formatter(form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger(STEPS).setLevel(logging.NOTSET if steps else logging.CRITICAL)
    warnings.showwarning = _warned
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def formatter(form: Form = "json") -> logging.Formatter:
    """What renders a record: a line of JSON, or one for a person at a terminal."""
    render: Any = structlog.processors.JSONRenderer(json.dumps, default=str, separators=(",", ":"))
    if form == "console":
        render = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, sort_keys=False)
    chain = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, render]
    return _Formatter(foreign_pre_chain=[_described], processors=chain, pass_foreign_args=True)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage() if record.name == STEPS else super().format(record)


def _described(_: Any, __: str, event: Event) -> Event:
    """The record as fields, in the order in which a person reads them."""
    record: logging.LogRecord = event["_record"]
    ours = record.name.partition(".")[0] in OURS
    found: dict[str, Any] = {
        "time": iso(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": _bounded(event["event"] if ours else _constant(str(record.msg), event.get("positional_args"))),
    }
    if (request := REQUEST.get()) is not None:
        found["request"] = _bounded(request)
    if ours:
        found.update({name: _bounded(value) for name, value in vars(record).items() if name not in _OWN})
    met = event.get("exc_info")
    if met and met[1] is not None:
        found["error"] = _bounded(sentence(met[1]))
        found["at"] = _origin(met[2])
    return {**found, "_record": record, "_from_structlog": False}


def iso(seconds: float) -> str:
    """A time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sentence(error: BaseException) -> str:
    """The class of an exception and the first line of what it says, without what stands in quotation marks."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {_QUOTED.sub('…', lines[0])}" if lines else type(error).__name__


def _constant(message: str, args: Any) -> str:
    """What is the same each time in somebody else's message: its first line, with numbers, and classes of errors."""
    text = message
    if args:
        told: Any = {n: _harmless(v) for n, v in args.items()} if isinstance(args, Mapping) else None
        try:
            text = text % (told if told is not None else tuple(_harmless(each) for each in args))
        except (TypeError, ValueError, KeyError):
            text = message
    return _QUOTED.sub("…", next(iter(text.strip().splitlines()), ""))


def _harmless(value: object) -> object:
    if isinstance(value, int | float):
        return value
    return type(value).__name__ if isinstance(value, BaseException) else "…"


def _bounded(value: object) -> object:
    """As JSON has it, or as text that is not too long and that no terminal obeys."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS] + "…"
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _origin(trace: TracebackType | None) -> str:
    """The innermost frames, outermost first: `tasks.py:41>claim.py:12`."""
    frames: list[str] = []
    while trace is not None:
        frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return ">".join(frames[-MOST_FRAMES:])


def _warned(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
    where = f"{Path(filename).name}:{lineno}"
    logging.getLogger("relais").warning("python warns", extra={"kind": category.__name__, "at": where})


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("relais").critical("uncaught", exc_info=(kind, error, trace))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None and not issubclass(told.exc_type, SystemExit):
        _uncaught(told.exc_type, told.exc_value, told.exc_traceback)
