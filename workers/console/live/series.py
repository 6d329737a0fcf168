"""What the charts draw: points made of the samples, thinned where they are read, the same for everybody.

A rate is what a cumulative count grew by between two samples, by the minutes between them: right over a gap and over
a change of the leader, and never negative.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from orders.journal import Source, unreachable
from orders.queries.samples import newest, series
from workers.console.within import promptly

SERIES_TIMEOUT: Final = 1.0  # seconds for the journal
POINTS: Final = 360
SPANS: Final = {"1h": 3600.0, "6h": 21600.0, "24h": 86400.0, "7d": 604800.0}  # seconds
FRESH: Final = 5.0  # seconds that what was read is handed out again


@dataclass(frozen=True, slots=True)
class Point:
    """At a time (s since 1970): orders a minute since the point before, the backlog, its oldest's age (s) or None."""

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
    return [_point(before, after) for before, after in pairwise(samples)]


def _point(before: dict[str, Any], after: dict[str, Any]) -> Point:
    minutes = (after["at"] - before["at"]).total_seconds() / 60
    rates = {name: round(max(0, after[name] - before[name]) / minutes, 2) for name in ("accepted", "delivered", "dead")}
    oldest = None if after["oldest"] is None else max(0.0, (after["at"] - after["oldest"]).total_seconds())
    return Point(after["at"].timestamp(), **rates, backlog=after["backlog"], oldest=oldest)


async def latest(source: Source) -> Point | None:
    """The newest point; None before there were two samples."""
    found = points(await newest(source, 2))
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
                rows = series(self._engine, datetime.now(UTC), length / POINTS, POINTS)
                found = points(await promptly(SERIES_TIMEOUT, rows))
            except Exception as error:
                if not unreachable(error):
                    raise
            self._known[span] = time.monotonic(), found
            return found


def columns(found: list[Point]) -> dict[str, list[float | None]]:
    """Points as the chart takes them: a list for each figure."""
    rows = [asdict(each) for each in found]
    return {name: [row[name] for row in rows] for name in Point.__slots__}
