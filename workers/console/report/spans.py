"""The span of time of a report: as a person writes it, in the console's time zone, and as an instant."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console import fields as read
from workers.console.i18n import placed

YEARS: Final = range(2000, 2100)
WRITTEN: Final = "%Y-%m-%dT%H:%M"  # what a browser's field for day and time takes
MINUTE: Final = timedelta(minutes=1)
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
    """The instants of what `choose` returned; a time that names no zone is of `zone`. Raises Malformed.

    In the hour that comes twice, the first one is where it begins and the second where it ends.
    """
    since, until = (_instant(written.get(name), zone, fold) for fold, name in enumerate(BOUNDS))
    if since is not None and until is not None and since >= until:
        raise read.wrong("until", Sentence(NotDone.AFTER_BEGINNING))
    return since, until


def local(at: datetime, zone: str, *, up: bool = False) -> str:
    """As a browser's field has it: the minute that it is in, or with `up` the next one unless it is one itself."""
    minute = at.replace(second=0, microsecond=0)
    return (minute + MINUTE if up and minute < at else minute).astimezone(ZoneInfo(zone)).strftime(WRITTEN)


def _instant(written: str | None, zone: str, fold: int) -> datetime | None:
    if written is None:
        return None
    return placed(datetime.fromisoformat(written).replace(fold=fold), zone).astimezone(UTC)
