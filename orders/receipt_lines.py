"""What an ERP may say of a line that it takes, beyond how many boxes it accepts and why fewer.

`substitute` is the product that it delivers in its place, of which `accepted` then counts the boxes; `back_ordered`
boxes come later, and `expected` is the day. A receipt that was journalled before an ERP could say so has none of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

UNTOLD: Final[Mapping[str, Any]] = {"reason": None, "substitute": None, "back_ordered": 0, "expected": None}

_DAY: Final = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


def told(lines: Any) -> list[dict[str, Any]]:
    """The lines of a receipt as the journal has it, with what they leave unsaid; what is no line is left out, for a
    journal may have been tampered with.
    """
    return [
        {**line, **{name: line.get(name, nothing) for name, nothing in UNTOLD.items()}}
        for line in (lines if isinstance(lines, list | tuple) else ())
        if isinstance(line, Mapping)
    ]


def day_of(line: Mapping[str, Any]) -> date | None:
    """When what comes later is expected; None where that is not told, or is no date."""
    try:
        return date.fromisoformat(line["expected"])
    except (KeyError, TypeError, ValueError):
        return None


def _day(written: Any) -> Any:
    """A date as it is written, where pydantic would take a number in quotes for seconds since 1970."""
    if not isinstance(written, str):
        return written
    if not _DAY.fullmatch(written):
        raise ValueError("a date is YYYY-MM-DD")
    return date.fromisoformat(written)


Day = Annotated[date, BeforeValidator(_day)]
