"""The span of time of a report: as a person writes it, in the console's time zone, and as an instant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from orders.errors import Fault, Malformed

YEARS: Final = range(2000, 2100)
WRITTEN: Final = "%Y-%m-%dT%H:%M"  # what a browser's field for day and time takes
BOUNDS: Final = ("since", "until")
Span = tuple[datetime | None, datetime | None]


def asked(fields: Mapping[str, str]) -> dict[str, str]:
    """Since and until as they were written, those that were. Raises Malformed naming each that is no time."""
    faults: list[Fault] = []
    found: dict[str, str] = {}
    for name in BOUNDS:
        said = str(fields.get(name) or "").strip()
        if not said:
            continue
        try:
            at: datetime | None = datetime.fromisoformat(said)
        except ValueError:
            at = None
        if at is None or at.year not in YEARS:
            faults.append(Fault(name, None, "is no time such as 2024-10-19T14:30"))
        else:
            found[name] = at.isoformat()
    if faults:
        raise Malformed(faults)
    return found


def span(written: Mapping[str, str], zone: str) -> Span:
    """The instants of what `asked` returned; a time that names no zone is of `zone`. Raises Malformed."""
    since, until = (_instant(written.get(name), zone) for name in BOUNDS)
    if since is not None and until is not None and since >= until:
        raise Malformed([Fault("until", None, "is not after the beginning")])
    return since, until


def local(at: datetime, zone: str) -> str:
    """As a browser's field has it, to the minute."""
    return at.astimezone(ZoneInfo(zone)).strftime(WRITTEN)


def _instant(written: str | None, zone: str) -> datetime | None:
    if written is None:
        return None
    at = datetime.fromisoformat(written)
    return at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))
