"""Durations on the command line: as people type them, and as a table tells them."""

from __future__ import annotations

from datetime import datetime

from config.durations import duration

__all__ = ["age", "duration", "span"]


def span(seconds: float) -> str:
    """A duration for a table, in its two largest units: `41s`, `3m 20s`, `6h 05m`, `2d 03h`."""
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
