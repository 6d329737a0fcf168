"""Durations as people type them, in a command or a file: 90s, 15m, 6h, 2d; and as they read: 6h 05m.

Longer than a century is a slip of the hand, and refused.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")
_LONGEST = timedelta(days=36_500)


def duration(text: str) -> timedelta:
    """The duration that `text` names. ValueError when it names none."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError("a duration is a number and s, m, h or d: 90s, 15m, 6h, 2d")
    seconds = float(found[1]) * _UNITS[found[2] or "s"]
    if seconds > _LONGEST.total_seconds():
        raise ValueError("a duration is at most 36500d")
    return timedelta(seconds=seconds)


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
