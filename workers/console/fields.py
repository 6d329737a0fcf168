"""What a form of the recovery asks for, read field by field; everything that is wrong is named at once.

What was chosen is kept as text, as it came: a form carries it along from its preview to the act, and what is sent
twice is the same both times. An age (`6h`) counts from when the act runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from config.durations import duration, instant
from config.settings.routes_file import NAME, PRIORITIES
from orders.errors import Fault, Malformed
from orders.model import Priority
from workers.replay.choice import Choice
from workers.replay.gates import STAGES

MOST_IDS: Final = 500
MOST_TEXT: Final = 64  # characters
YES: Final = "yes"
YEARS: Final = range(1900, 9000)  # of times that the journal can hold

Reader = Callable[[str], str]  # raises ValueError
NARROWING: Final = ("pharmacy", "priority", "older", "younger", "ids")


def gather(fields: Mapping[str, str], needed: Mapping[str, Reader], optional: Mapping[str, Reader]) -> dict[str, Any]:
    """The fields that were filled in, each as its reader writes it. Raises Malformed."""
    chosen, faults = {}, []
    for name, read in {**needed, **optional}.items():
        given = fields.get(name, "").strip()
        if not given:
            if name in needed:
                faults.append(Fault(name, None, "must be filled in"))
            continue
        try:
            chosen[name] = read(given)
        except ValueError as error:
            faults.append(Fault(name, None, str(error)))
    if faults:
        raise Malformed(faults)
    return chosen


def backend(given: str) -> str:
    """A backend's name; whether there is such a one is not known here."""
    if not NAME.fullmatch(given):
        raise ValueError("must be the name of a backend")
    return given


def line(given: str) -> str:
    """A short text of one line."""
    if len(given) > MOST_TEXT or not given.isprintable():
        raise ValueError(f"must be at most {MOST_TEXT} characters on one line")
    return given


def priority(given: str) -> str:
    """`urgent` or `normal`."""
    if given not in PRIORITIES:
        raise ValueError(f"must be one of {', '.join(PRIORITIES)}")
    return given


def age(given: str) -> str:
    """How long ago: 90s, 15m, 6h, 2d."""
    duration(given)
    return given.lower()


def moment(given: str) -> str:
    """A time: RFC 3339 with a zone, or how long ago."""
    if instant(given).year not in YEARS:
        raise ValueError("no orders are of that time")
    return given


def yes(given: str) -> str:
    """A box that is ticked."""
    if given != YES:
        raise ValueError(f"must be {YES}, or left out")
    return given


def number(given: str) -> str:
    """The number of a replay or a reconciliation."""
    if not re.fullmatch("[1-9][0-9]{0,14}", given):
        raise ValueError("must be a number")
    return given


def stage(given: str) -> str:
    """A replay's stage; 0 is the ramp."""
    if given not in [str(each) for each in STAGES]:
        raise ValueError("must be a stage: 1, 10, 100, or 0 for the ramp")
    return given


def ids(given: str) -> str:
    """Orders' ids, between commas or blanks, as `a,b`; each once."""
    found = dict.fromkeys(str(UUID(each)) for each in re.split(r"[\s,;]+", given) if each)
    if not 0 < len(found) <= MOST_IDS:
        raise ValueError(f"must be at most {MOST_IDS} orders' ids")
    return ",".join(found)


def choice_of(chosen: Mapping[str, Any], of: str | None) -> Choice:
    """The backlog that was chosen of the backend `of`, of any when it is None."""
    named = chosen.get("ids")
    return Choice(
        pharmacy=chosen.get("pharmacy"),
        priority=_priority(chosen.get("priority")),
        older=_age(chosen.get("older")),
        younger=_age(chosen.get("younger")),
        backend=of,
        ids=tuple(UUID(each) for each in named.split(",")) if named else None,
    )


def _priority(given: str | None) -> Priority | None:
    return None if given is None else "urgent" if given == "urgent" else "normal"


def _age(given: str | None) -> timedelta | None:
    return None if given is None else duration(given)


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
