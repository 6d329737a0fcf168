"""The console's languages: English in the code, French in `locale/fr/*.po`, a file for each room.

The catalogues are compiled in memory when they are first needed: no step of a build does. Times are told in
RELAIS_CONSOLE_TIME_ZONE, numbers and durations as the language writes them (CLDR, by Babel).
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Final
from zoneinfo import ZoneInfo

from babel.core import Locale, negotiate_locale
from babel.dates import format_date, format_datetime, format_timedelta, get_timezone
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import NullTranslations, Translations

LOCALES: Final = ("fr", "en")  # the first is what a browser that says nothing gets
NONE: Final = "\N{EN DASH}"
FEW: Final = 10  # orders a minute, below which a tenth is worth telling


class Words:
    """One language: its sentences, and how it writes figures and times."""

    def __init__(self, locale: str, zone: tzinfo) -> None:
        """`locale` is one of LOCALES."""
        self.code = locale
        self._locale, self._zone = Locale.parse(locale), zone
        self._said = _catalogue(locale)
        self.colon = "\u202f:" if locale == "fr" else ":"  # as it stands behind a word

    def of_room(self, room: str) -> Words:
        """The same language, in which what that room says goes before what others say by the same English words."""
        own = copy(self)
        own._said = _catalogue(self.code, room)
        return own

    def gettext(self, message: str) -> str:
        """The sentence in this language; itself where nobody has translated it."""
        return self._said.gettext(message) if message else ""

    def ngettext(self, one: str, many: str, n: int) -> str:
        """As `gettext`, by number: in French 0 and 1 are singular."""
        return self._said.ngettext(one, many, n)

    def number(self, value: float | None, digits: int = 0) -> str:
        """A figure with at most so many decimals; `NONE` for None."""
        if value is None:
            return NONE
        pattern = "#,##0" + ("." + "#" * digits if digits else "")
        return format_decimal(round(value, digits), format=pattern, locale=self._locale)

    def rate(self, value: float | None) -> str:
        """Orders a minute: with a decimal where they are few."""
        return self.number(value, 1 if value is not None and value < FEW else 0)

    def share(self, value: float) -> str:
        """A share of one as per cent."""
        return format_percent(value, locale=self._locale)

    def moment(self, at: datetime | None) -> str:
        """Day and time to the second with the zone, as every page tells a time; the year where it is another one.

        `NONE` for None. TypeError for a time without a zone, which nobody can place: see `placed`.
        """
        if at is None:
            return NONE
        if at.tzinfo is None:
            raise TypeError(f"{at} has no zone")
        here = at.astimezone(self._zone)
        pattern = "d MMM HH:mm:ss" if here.year == datetime.now(self._zone).year else "d MMM yyyy HH:mm:ss"
        return f"{format_datetime(here, pattern, self._zone, locale=self._locale)} {here.tzname()}"

    def stamp(self, at: datetime) -> str:
        """Day, year and time to the second, without the zone but in the hour that comes twice."""
        here = at.astimezone(self._zone)
        said = format_datetime(here, "d MMM yyyy HH:mm:ss", self._zone, locale=self._locale)
        twice = here.replace(fold=0).utcoffset() != here.replace(fold=1).utcoffset()
        return f"{said} {here.tzname()}" if twice else said

    def typed(self, written: str) -> datetime:
        """The time that a form's field has, of the console's zone where it names none. ValueError when it is none."""
        return placed(datetime.fromisoformat(written), str(self._zone))

    def day(self, at: datetime) -> str:
        """Its day and month, in the zone that it is told in."""
        return format_datetime(at, "d MMM", at.tzinfo, locale=self._locale)

    def calendar(self, day: date) -> str:
        """A day of the calendar with its year."""
        return format_date(day, "d MMM yyyy", locale=self._locale)

    def duration(self, seconds: float | timedelta | None) -> str:
        """How long, in the largest unit that fits: `3 minutes`; `NONE` for None."""
        if seconds is None:
            return NONE
        length = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
        return format_timedelta(length, threshold=1.2, locale=self._locale)

    def ago(self, at: datetime | None) -> str:
        """How long since, as a duration."""
        return NONE if at is None else self.duration(max(timedelta(0), datetime.now(UTC) - at))


@dataclass(frozen=True, slots=True)
class Figure:
    """A number or a time in a sentence; its place there says how it is written, as Python's format does."""

    value: float | datetime
    words: Words

    def __format__(self, form: str) -> str:
        if isinstance(self.value, datetime):
            return self.words.moment(self.value)
        if form.endswith("%"):
            return self.words.share(self.value)
        if form in ("", ","):
            return self.words.number(self.value) if form else str(self.value)
        figure = Decimal(format(self.value, form))
        decimals = max(0, -int(figure.as_tuple().exponent))
        return format_decimal(figure, format=f"#,##0.{'0' * decimals}", locale=self.words.code)


def placed(at: datetime, zone: str) -> datetime:
    """A time with its zone: that of the console, `zone`, where it names none, as a browser's field does not."""
    return at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))


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
    tag, _, weight = part.partition(";")
    name, _, value = weight.partition("=")
    try:
        return float(value if name.strip().lower() == "q" else 1), tag.strip()
    except ValueError:
        return 0.0, ""


@cache
def _catalogue(locale: str, room: str = "") -> NullTranslations:
    """All of a language; where two rooms differ, that one's word counts."""
    folder, said = files("workers.console") / "locale" / locale, NullTranslations()
    written = [each for each in folder.iterdir() if each.name.endswith(".po")] if folder.is_dir() else []
    for file in sorted(written, key=lambda each: (each.name != f"{room}.po", each.name), reverse=True):
        compiled = BytesIO()
        with file.open("rb") as source:
            write_mo(compiled, read_po(source, locale=locale))
        compiled.seek(0)
        before, said = said, Translations(compiled)
        said.add_fallback(before)
    return said
