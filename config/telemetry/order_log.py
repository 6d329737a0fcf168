"""What became of single orders, in the log: one line an order a step, with what finds it again and nothing of what
it holds.

A group of orders is one record, and so one write, however many lines it has. The lines are put together by hand: they
are the only ones of which there are as many as there are orders.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii as _quoted
from typing import Final
from uuid import UUID

from config.telemetry.logs import STEPS, iso

log: Final = logging.getLogger(STEPS)

Field = str | int | UUID | None


def wanted() -> bool:
    """Whether anybody reads them: else there is no need to find out what they would say."""
    return log.isEnabledFor(logging.INFO)


def say(event: str, rows: Iterable[dict[str, Field]]) -> None:
    """One line for each row, all of this event and this moment. What is None is left out."""
    if not wanted():
        return
    start = f'{{"time":"{iso(time.time())}","level":"info","logger":"{STEPS}","event":{_quoted(event)}'
    lines = [start + "".join([_field(*each) for each in row.items() if each[1] is not None]) + "}" for row in rows]
    if lines:
        log.info("\n".join(lines))


def _field(name: str, value: Field) -> str:
    if isinstance(value, int):
        return f',"{name}":{value}'
    if isinstance(value, UUID):
        return f',"{name}":"{value}"'
    return f',"{name}":{_quoted(str(value)[:200])}'
