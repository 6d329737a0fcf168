"""Durations on the command line: as people type them, and as a table tells them."""

from __future__ import annotations

from datetime import datetime

from config.durations import duration, span

__all__ = ["age", "duration", "span"]


def age(since: datetime, now: datetime) -> str:
    """How long ago, as `span` says it."""
    return span((now - since).total_seconds())
