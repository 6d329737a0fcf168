"""The console's languages: English in the code, French in `locale/fr/*.po`, a file for each room.

The catalogues are read as they are written, when the console starts: no step compiles them. Times are told in
RELAIS_CONSOLE_TIME_ZONE, numbers and durations as the language writes them (CLDR, by Babel).
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from importlib.resources import files
from typing import Final

from babel.core import Locale, negotiate_locale
from babel.dates import format_datetime, format_time, format_timedelta, get_timezone
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent

LOCALES: Final = ("fr", "en")  # the first is what a browser that says nothing gets
NONE: Final = "\N{EN DASH}"


class Words:
    """One language: its sentences, and how it writes figures and times."""

    def __init__(self, locale: str, zone: tzinfo) -> None:
        """Reads its catalogues. `locale` is one of LOCALES."""
        self.code = locale
        self._locale, self._zone = Locale.parse(locale), zone
        self._said = _catalogue(locale)

    def of_room(self, room: str) -> Words:
        """The same language, in which what that room says goes before what others say by the same English words."""
        own = copy(self)
        own._said = self._said | _written(self.code, f"{room}.po")
        return own

    def gettext(self, message: str) -> str:
        """The sentence in this language; itself where nobody has translated it."""
        found = self._said.get(message)
        return found[0] if found and found[0] else message

    def ngettext(self, one: str, many: str, n: int) -> str:
        """As `gettext`, by number: in French 0 and 1 are singular."""
        few = n < 2 if self.code == "fr" else n == 1
        found = self._said.get(one)
        if found and all(found) and len(found) > 1:
            return found[0 if few else 1]
        return one if few else many

    def number(self, value: float | None, digits: int = 0) -> str:
        """A figure with at most so many decimals; `NONE` for None."""
        if value is None:
            return NONE
        pattern = "#,##0" + ("." + "#" * digits if digits else "")
        return format_decimal(round(value, digits), format=pattern, locale=self._locale)

    def share(self, value: float) -> str:
        """A share of one as per cent."""
        return format_percent(value, locale=self._locale)

    def moment(self, at: datetime | None) -> str:
        """Day and time to the second, with the zone; `NONE` for None."""
        return NONE if at is None else format_datetime(at, "d MMM yyyy HH:mm:ss z", self._zone, locale=self._locale)

    def clock(self, at: datetime | None) -> str:
        """The time, with the day when that is not today."""
        if at is None:
            return NONE
        if datetime.now(self._zone).date() == at.astimezone(self._zone).date():
            return format_time(at, "HH:mm:ss", self._zone, locale=self._locale)
        return format_datetime(at, "d MMM HH:mm", self._zone, locale=self._locale)

    def day(self, at: datetime) -> str:
        """Its day and month, in the zone that it is told in."""
        return format_datetime(at, "d MMM", at.tzinfo, locale=self._locale)

    def duration(self, seconds: float | timedelta | None) -> str:
        """How long, in the largest unit that fits: `3 minutes`; `NONE` for None."""
        if seconds is None:
            return NONE
        length = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
        return format_timedelta(length, threshold=1.2, locale=self._locale)

    def ago(self, at: datetime | None) -> str:
        """How long since, as a duration."""
        return NONE if at is None else self.duration(max(timedelta(0), datetime.now(UTC) - at))


def N_(message: str) -> str:  # the name by which extractors know it
    """Marks a sentence that is translated where it is shown."""
    return message


def languages(zone: str) -> dict[str, Words]:
    """Every language, telling times in that zone. LookupError when there is no such zone."""
    place = get_timezone(zone)
    return {locale: Words(locale, place) for locale in LOCALES}


def preferred(header: str | None) -> str:
    """The language that suits an Accept-Language header (RFC 9110, 12.5.4) best."""
    asked = [_weighed(part) for part in (header or "").split(",")]
    tags = [tag for weight, tag in sorted(asked, key=lambda each: -each[0]) if tag and weight > 0]
    return negotiate_locale(tags, LOCALES, sep="-") or LOCALES[0]


def _weighed(part: str) -> tuple[float, str]:
    tag, _, weight = part.strip().partition(";q=")
    try:
        return float(weight or 1), tag.strip()
    except ValueError:
        return 0.0, ""


@cache
def _catalogue(locale: str) -> dict[str, tuple[str, ...]]:
    folder = files("workers.console") / "locale" / locale
    said: dict[str, tuple[str, ...]] = {}
    for name in sorted(each.name for each in folder.iterdir()) if folder.is_dir() else ():
        said |= _written(locale, name)
    return said


@cache
def _written(locale: str, name: str) -> dict[str, tuple[str, ...]]:
    file = files("workers.console") / "locale" / locale / name
    if not name.endswith(".po") or not file.is_file():
        return {}
    with file.open("rb") as written:
        return dict(_messages(read_po(written, locale=locale)))


def _messages(catalogue: Iterable[object]) -> Iterable[tuple[str, tuple[str, ...]]]:
    for message in catalogue:
        ids, strings = message.id, message.string  # type: ignore[attr-defined]
        if ids:
            yield (ids, (strings,)) if isinstance(ids, str) else (ids[0], tuple(strings))
