"""What an act is about, made of the fields of a form or an address: each function raises Malformed with its field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

from config.durations import duration
from orders.errors import Fault, Malformed

MOST: Final = 500  # orders that can be chosen one by one
LONGEST: Final = 200  # characters of a text
Fields = Mapping[str, str]


def wrong(field: str, message: str) -> Malformed:
    """The error that names this field."""
    return Malformed([Fault(field, None, message)])


def text_from(fields: Fields, name: str) -> str | None:
    """A text of at most LONGEST characters; None when there is none."""
    found = fields.get(name)
    if found is not None and len(found) > LONGEST:
        raise wrong(name, f"must have at most {LONGEST} characters")
    return found


def needed(fields: Fields, name: str) -> str:
    """As `text_from`, where there has to be one."""
    found = text_from(fields, name)
    if found is None:
        raise wrong(name, "must be chosen")
    return found


def backend_from(fields: Fields) -> str:
    """The field `backend`; whether there is one of that name, the journal knows."""
    return needed(fields, "backend")


def one_of(fields: Fields, name: str, known: tuple[str, ...]) -> str | None:
    """One of the known words, or None."""
    found = fields.get(name)
    if found is not None and found not in known:
        raise wrong(name, f"must be one of {', '.join(known)}")
    return found


def ids_from(fields: Fields, name: str = "id") -> list[str] | None:
    """Orders' ids, each once, in their order; None when there is no such field."""
    found = fields.get(name)
    if found is None:
        return None
    try:
        ids = sorted({str(UUID(each.strip())) for each in found.split(",")})
    except ValueError:
        raise wrong(name, "must be ids of orders, with commas between") from None
    if len(ids) > MOST:
        raise wrong(name, f"must be at most {MOST} ids at a time")
    return ids


def age_from(fields: Fields, name: str) -> timedelta | None:
    """An age as the command line takes it: 90s, 15m, 6h, 2d; None when there is none."""
    found = text_from(fields, name)
    try:
        return None if found is None else duration(found)
    except ValueError as error:
        raise wrong(name, str(error)) from None


def number_from(fields: Fields, name: str, least: float, most: float) -> float | None:
    """A number between these, or None when there is none."""
    found = text_from(fields, name)
    if found is None:
        return None
    try:
        number = float(found.replace(",", "."))
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise wrong(name, f"must be a number from {least:g} to {most:g}")
    return number
