"""The span of time of a report: as a person writes it, in the console's time zone, and as an instant."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console import fields as read
from workers.console.i18n import placed

YEARS: Final = range(2000, 2100)
WRITTEN: Final = "%Y-%m-%dT%H:%M"  # what a browser's field for day and time takes
BOUNDS: Final = ("since", "until")
Span = tuple[datetime | None, datetime | None]


def choose(fields: Mapping[str, str]) -> dict[str, str]:
    """Since and until as they were written, those that were. Raises Malformed naming each that is no time."""
    return read.gather(fields, {}, dict.fromkeys(BOUNDS, _written))


def _written(given: str) -> str:
    with suppress(ValueError):
        if (at := datetime.fromisoformat(given)).year in YEARS:
            return at.isoformat()
    raise ValueError(Sentence(NotDone.LOCAL_TIME))


def span(written: Mapping[str, str], zone: str) -> Span:
    """The instants of what `choose` returned; a time that names no zone is of `zone`. Raises Malformed."""
    since, until = (_instant(written.get(name), zone) for name in BOUNDS)
    if since is not None and until is not None and since >= until:
        raise read.wrong("until", Sentence(NotDone.AFTER_BEGINNING))
    return since, until


def local(at: datetime, zone: str) -> str:
    """As a browser's field has it, to the minute."""
    return at.astimezone(ZoneInfo(zone)).strftime(WRITTEN)


def _instant(written: str | None, zone: str) -> datetime | None:
    return None if written is None else placed(datetime.fromisoformat(written), zone)
