"""What the charts draw: points made of the samples, thinned where they are read, the same for everybody.

A rate is what a cumulative count grew by over a minute or more, by those minutes: right over a gap and over a change
of the leader, never negative, and never more than came in a minute. The backlog is the largest of its step.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from orders.journal import Source, unreachable
from orders.queries.samples import newest, series
from workers.console.within import promptly

SERIES_TIMEOUT: Final = 1.0  # seconds for the journal
POINTS: Final = 360
MINUTE: Final = timedelta(minutes=1)
BEFORE: Final = 8  # samples that reach back a minute and more
SPANS: Final = {"1h": 3600.0, "6h": 21600.0, "24h": 86400.0, "7d": 604800.0}  # seconds
FRESH: Final = 5.0  # seconds that what was read is handed out again


@dataclass(frozen=True, slots=True)
class Point:
    """At a time (s since 1970): orders a minute, over a minute or since the point before where that is longer; the
    largest backlog since then, and the largest age of its oldest (s) or None.
    """

    at: float
    accepted: float
    delivered: float
    dead: float
    backlog: int
    oldest: float | None

    @property
    def when(self) -> datetime:
        """The time."""
        return datetime.fromtimestamp(self.at, UTC)


def points(samples: list[dict[str, Any]]) -> list[Point]:
    """A point for each sample but the first; samples are in the order of time."""
    found, first = [], 0
    for number, after in enumerate(samples[1:], 1):
        while first + 1 < number and after["at"] - samples[first + 1]["at"] >= MINUTE:
            first += 1
        found.append(_point(samples[first], after))
    return found


def _point(before: dict[str, Any], after: dict[str, Any]) -> Point:
    minutes = max(MINUTE, after["at"] - before["at"]) / MINUTE  # what came in less than one is no more a minute
    rates = {name: round(max(0, after[name] - before[name]) / minutes, 2) for name in ("accepted", "delivered", "dead")}
    oldest = None if after["age"] is None else max(0.0, after["age"])
    return Point(after["at"].timestamp(), **rates, backlog=after["most"], oldest=oldest)


async def latest(source: Source) -> Point | None:
    """The newest point; None before there were two samples."""
    found = points(await newest(source, BEFORE))
    return found[-1] if found else None


class Series:
    """The series of one console process: each span is read at most every FRESH seconds, whoever asks."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Nothing was read yet."""
        self._engine = engine
        self._known: dict[str, tuple[float, list[Point]]] = {}
        self._reading = asyncio.Lock()  # who comes meanwhile gets what the first one reads

    async def get(self, span: str, *, out: bool = False) -> list[Point]:
        """The points of a span of SPANS, POINTS at most, as they were last known where the journal is out.

        With `out`, nobody is asked. KeyError for any other span.
        """
        length = SPANS[span]
        if out:
            return self._known.get(span, (0.0, []))[1]
        async with self._reading:
            read, found = self._known.get(span, (float("-inf"), []))
            if time.monotonic() - read < FRESH:
                return found
            try:
                rows = series(self._engine, datetime.now(UTC), length / POINTS, POINTS + BEFORE)
                found = points(await promptly(SERIES_TIMEOUT, rows))[-POINTS:]
            except Exception as error:
                if not unreachable(error):
                    raise
            self._known[span] = time.monotonic(), found
            return found


def columns(found: list[Point]) -> dict[str, list[float | None]]:
    """Points as the chart takes them: a list for each figure."""
    rows = [asdict(each) for each in found]
    return {name: [row[name] for row in rows] for name in Point.__slots__}
