"""What comes in with an act's form beside the choice: what the person typed, and what they saw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console.acts.act import Chosen, Preview
from workers.console.fields import spaced, text_of, wrong

RESERVED: Final = frozenset({"csrf", "act", "sees", "saw", "because", "confirm"})  # the rest chooses
MOST_SEEN: Final = 20_000  # characters of what was seen


@dataclass(frozen=True, slots=True)
class ActForm:
    """What a form brought along beside the choice; one that nobody has filled in has a number alone."""

    number: UUID = field(default_factory=uuid4)
    sees: str = ""
    saw: str = ""
    because: str = ""
    confirm: str = ""


def read_form(form: Mapping[str, Any]) -> ActForm:
    """What the form of an act brought along. Raises Malformed for one that no page of ours makes."""
    act, *typed = (text_of(form, name, MOST_SEEN) for name in ("act", "sees", "saw", "because", "confirm"))
    try:
        return ActForm(UUID(act), *typed)
    except ValueError:
        raise wrong("act", Sentence(NotDone.NO_FORM)) from None


def wanted(preview: Preview, chosen: Chosen) -> str:
    """What has to be typed before a dangerous act."""
    return preview.confirm or str(chosen.get("backend") or preview.orders or 0)


def confirmed(typed: str, wanted: str) -> bool:
    """Whether it was typed; a number in whatever way the person groups its digits."""
    typed = spaced(typed)
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
