"""Durations as people type them, in a command or a file: 90s, 15m, 6h, 2d; and as they read: 6h 05m.

Longer than a century is a slip of the hand, and refused. Times are typed in full or as such an age; the year 1, which
is nobody's and which the journal's driver would write as minus infinity, is refused with all that lies beyond YEARS.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")
_LONGEST = timedelta(days=36_500)
YEARS: Final = range(1900, 3000)


def duration(text: str) -> timedelta:
    """The duration that `text` names. ValueError when it names none."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError("a duration is a number and s, m, h or d: 90s, 15m, 6h, 2d")
    seconds = float(found[1]) * _UNITS[found[2] or "s"]
    if seconds > _LONGEST.total_seconds():
        raise ValueError("a duration is at most 36500d")
    return timedelta(seconds=seconds)


def instant(text: str) -> datetime:
    """The time that `text` names: RFC 3339, with its zone, or how long ago. ValueError when it names none."""
    no_time = ValueError("a time is RFC 3339 with a zone, or an age with s, m, h or d: 2026-01-05T18:00:00Z, 2d")
    if text.strip().isdigit():
        raise no_time
    if _DURATION.fullmatch(text.strip().lower()):
        return datetime.now(UTC) - duration(text)
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise no_time from None
    if when.tzinfo is None:
        raise ValueError("a time needs a zone: 2026-01-05T18:00:00Z")
    return bounded(when)


def bounded(when: datetime) -> datetime:
    """The same time. ValueError when it lies beyond YEARS."""
    if when.year not in YEARS:
        raise ValueError(f"a time lies in the years {YEARS[0]} to {YEARS[-1]}")
    return when


def span(seconds: float) -> str:
    """A duration for people, in its two largest units: `41s`, `3m 20s`, `6h 05m`, `2d 03h`."""
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days}d {hours_left:02}h"
    if hours:
        return f"{hours}h {minutes_left:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{whole}s"


def age(since: datetime, now: datetime) -> str:
    """How long ago, as `span` says it."""
    return span((now - since).total_seconds())
