"""What comes in with an act's form: the fields that choose what it is about, and what the person typed and saw.

Whatever a browser can send is either one of these or refused with the field's name: nothing of it gets as far as the
journal and fails there.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

from orders.errors import Fault, Malformed
from workers.console.acts.act import RESERVED, Chosen, Preview

LEAST, MOST = 3, 500  # characters of a reason
FIELDS: Final = 40  # different ones
SIZE: Final = 40_000  # characters of one field, 500 ids and more
ENDS: Final = str.maketrans("\r\n\t", "   ")  # of lines, as in a list that was pasted
SAW: Final = 20_000  # characters of what was seen


@dataclass(frozen=True, slots=True)
class ActForm:
    """What a form brought along beside the choice."""

    number: UUID
    sees: str = ""
    saw: str = ""
    because: str = ""
    confirm: str = ""


def chosen_fields(pairs: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """The fields that choose: trimmed, ends of lines made spaces, empty ones left out, repeated ones with commas.

    Raises Malformed.
    """
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in RESERVED and (clean := _clean(name, value)):
            found.setdefault(name, []).append(clean)
    fields = {name: ",".join(values) for name, values in found.items()}
    if len(fields) > FIELDS or any(len(each) > SIZE for each in (*fields, *fields.values())):
        raise Malformed([Fault("form", None, "is too long")])
    return fields


def _clean(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed([Fault("form", None, "must not hold a file")])
    text = _spaced(value.translate(ENDS))
    if not _plain(text) or not _plain(name):
        raise Malformed([Fault(name if _plain(name) else "form", None, "must not hold control characters")])
    return text


def asked_from(form: Mapping[str, Any]) -> ActForm:
    """What the form of an act brought along. Raises Malformed for one that no page of ours makes."""
    given = {name: form.get(name, "") for name in ("act", "sees", "saw", "because", "confirm")}
    for name, value in given.items():
        if not isinstance(value, str):
            raise Malformed([Fault(name, None, "must not be a file")])
    try:
        number = UUID(given["act"])
    except ValueError:
        raise Malformed([Fault("act", None, "is missing: load the page again")]) from None
    return ActForm(number, given["sees"], given["saw"][:SAW], given["because"], given["confirm"])


def fresh() -> ActForm:
    """For a form that nobody has filled in."""
    return ActForm(uuid4())


def reason_from(text: str, field: str = "because") -> str:
    """A reason for the record: one line of LEAST to MOST characters, trimmed. Raises Malformed."""
    reason = _spaced(text)
    if not LEAST <= len(reason) <= MOST:
        raise Malformed([Fault(field, None, f"must have {LEAST} to {MOST} characters")])
    if not _plain(reason):
        raise Malformed([Fault(field, None, "must be one line, without control characters")])
    return reason


def wanted(preview: Preview, chosen: Chosen) -> str:
    """What has to be typed before a dangerous act."""
    return preview.confirm or str(chosen.get("backend") or preview.orders or 0)


def confirmed(typed: str, wanted: str) -> bool:
    """Whether it was typed; a number in whatever way the person groups its digits."""
    typed = _spaced(typed)
    if wanted.isdecimal():
        return "".join(each for each in typed if each not in " .,'\N{RIGHT SINGLE QUOTATION MARK}") == wanted
    return typed == wanted


def saw(preview: Preview) -> str:
    """What the preview says, as the form brings it back, to tell what has changed since."""
    return json.dumps({"orders": preview.orders, "facts": [list(each) for each in preview.facts]})


def changes(before: str, preview: Preview) -> list[tuple[str, str, str]]:
    """Name, then and now, of each fact that is not as it was seen; nothing where what was seen cannot be read."""
    try:
        facts = {str(name): str(value) for name, value in json.loads(before)["facts"]}
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
    now = dict(preview.facts)
    names = [*now, *(name for name in facts if name not in now)]
    told = ((name, facts.get(name, ""), now.get(name, "")) for name in names)
    return [each for each in told if each[1] != each[2]]


def _spaced(text: str) -> str:
    """Trimmed, and every kind of space (a French one before a colon) a plain one."""
    return "".join(" " if unicodedata.category(each) == "Zs" else each for each in text).strip(" ")


def _plain(text: str) -> bool:
    """Nothing that controls: no line ends, no NUL, nothing that turns the direction of writing."""
    return all(each.isprintable() for each in text)
