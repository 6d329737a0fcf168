"""What comes in with a form or an address, read field by field; everything that is wrong is named at once.

Whatever a browser can send is what its field asks for, or refused with the field's name: nothing of it gets as far as
the journal and fails there. What chooses an act's subject stays text, as it came: a form carries it along from its
preview to the act, and what is sent twice is the same both times. An age (`6h`) counts from when the act runs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from config.durations import duration, instant
from config.settings.routes_file import NAME
from orders.errors import Fault, Malformed
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.replay.gates import STAGES

MOST_IDS: Final = 500
MOST_TEXT: Final = 64  # characters of a line
LEAST_REASON, MOST_REASON = 3, 500  # characters of a reason
MOST_FIELDS: Final = 40  # different ones of a form
MOST_SIZE: Final = 40_000  # characters of one field, MOST_IDS ids and more
NUMBERS: Final = range(2**53)  # those that every JSON reader takes for what they are
YES: Final = "yes"
ENDS: Final = str.maketrans("\r\n\t", "   ")  # of lines, as in a list that was pasted

Fields = Mapping[str, str]
Reader = Callable[[str], Any]  # raises ValueError of a sentence
NONE_OF_IT: Final[Mapping[str, Reader]] = {}


def wrong(field: str, message: Sentence) -> Malformed:
    """The error that names this field."""
    return Malformed([Fault(field, None, message)])


def said(error: ValueError) -> Sentence:
    """What it says; of one that says nothing of ours, that the value does not fit."""
    found = error.args[0] if error.args else None
    return found if isinstance(found, Sentence) else Sentence(NotDone.UNFIT)


def sent(pairs: Iterable[tuple[str, Any]], reserved: frozenset[str]) -> dict[str, str]:
    """A form's fields but those: trimmed, line ends made spaces, empty ones left out, repeated ones with commas.

    Raises Malformed.
    """
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if not isinstance(value, str):
            raise wrong("form", Sentence(NotDone.HOLDS_FILE))
        if name not in reserved and (clean := spaced(value.translate(ENDS))):
            if not (name + clean).isprintable():
                raise wrong(name if name.isprintable() else "form", Sentence(NotDone.HOLDS_CONTROLS))
            found.setdefault(name, []).append(clean)
    fields = {name: ",".join(values) for name, values in found.items()}
    if len(fields) > MOST_FIELDS or any(len(each) > MOST_SIZE for each in (*fields, *fields.values())):
        raise wrong("form", Sentence(NotDone.TOO_LONG))
    return fields


def gather(fields: Fields, needed: Mapping[str, Reader], optional: Mapping[str, Reader] = NONE_OF_IT) -> dict[str, Any]:
    """The fields that were filled in, each as its reader gives it. Raises Malformed."""
    chosen, faults = {}, []
    for name, read in {**needed, **optional}.items():
        given = fields.get(name, "").strip()
        if not given:
            if name in needed:
                faults.append(Fault(name, None, Sentence(NotDone.EMPTY)))
            continue
        try:
            chosen[name] = read(given)
        except ValueError as error:
            faults.append(Fault(name, None, said(error)))
    if faults:
        raise Malformed(faults)
    return chosen


def text_of(form: Mapping[str, Any], name: str, most: int = 1024) -> str:
    """A field as text, an empty one when it is missing, no text or longer than it can be."""
    value = form.get(name, "")
    return value if isinstance(value, str) and len(value) <= most else ""


def spaced(text: str) -> str:
    """Trimmed, and every kind of space (a French one before a colon) a plain one."""
    return "".join(" " if unicodedata.category(each) == "Zs" else each for each in text).strip(" ")


def backend(given: str) -> str:
    """A backend's name; whether there is such a one is not known here."""
    if not NAME.fullmatch(given):
        raise ValueError(Sentence(NotDone.NAME_OF_BACKEND))
    return given


def line(given: str) -> str:
    """A short text of one line."""
    if len(given) > MOST_TEXT or not given.isprintable():
        raise ValueError(Sentence(NotDone.ONE_LINE, most=MOST_TEXT))
    return given


def reason(given: str) -> str:
    """Why somebody does what they do, for the record: one line."""
    given = spaced(given)
    if not LEAST_REASON <= len(given) <= MOST_REASON or not given.isprintable():
        raise ValueError(Sentence(NotDone.REASON_LINE, least=LEAST_REASON, most=MOST_REASON))
    return given


def one_of(*known: str) -> Reader:
    """One of these words."""

    def read(given: str) -> str:
        if given not in known:
            raise ValueError(Sentence(NotDone.ONE_OF, known=", ".join(known)))
        return given

    return read


yes: Final = one_of(YES)  # a box that is ticked
stage: Final = one_of(*map(str, STAGES))  # of a replay; 0 is the ramp


def age(given: str) -> str:
    """How long ago: 90s, 15m, 6h, 2d."""
    try:
        duration(given)
    except ValueError:
        raise ValueError(Sentence(NotDone.AGE)) from None
    return given.lower()


def moment(given: str) -> str:
    """A time: RFC 3339 with a zone, or how long ago."""
    try:
        instant(given)
    except (ValueError, OverflowError):
        raise ValueError(Sentence(NotDone.MOMENT)) from None
    return given


def number(given: str) -> str:
    """The number of a replay, a reconciliation or a cause."""
    if not re.fullmatch("[1-9][0-9]{0,15}", given) or int(given) not in NUMBERS:
        raise ValueError(Sentence(NotDone.NUMBER))
    return given


def order(given: str) -> str:
    """An order's id."""
    try:
        return str(UUID(given))
    except ValueError:
        raise ValueError(Sentence(NotDone.ORDER_ID)) from None


def ids(given: str) -> str:
    """Orders' ids, between commas or blanks, as `a,b`; each once, sorted."""
    try:
        found = sorted({str(UUID(each)) for each in re.split(r"[\s,;]+", given) if each})
    except ValueError:
        raise ValueError(Sentence(NotDone.ORDER_IDS)) from None
    if not 0 < len(found) <= MOST_IDS:
        raise ValueError(Sentence(NotDone.MOST_IDS, most=MOST_IDS))
    return ",".join(found)
