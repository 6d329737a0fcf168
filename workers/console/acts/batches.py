"""What acts on all that a filter fits have in common: how many one takes, and what its preview tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from workers.console.i18n import N_, Words
from workers.replay.choice import BATCH as BATCH

MOST_ORDERS: Final = 100_000  # orders of one act; more are narrowed, or taken one act after the other
TOO_MANY: Final = N_("An act takes %(most)s orders at most: narrow the filter, by time for example.")


def counted(rows: Sequence[Mapping[str, Any]], words: Words) -> tuple[int, list[tuple[str, str]]]:
    """How many they are, and the facts of a sample with its count (`workers.replay.redrive.look`)."""
    if not rows:
        return 0, []
    found, _ = rows[0], words.gettext
    return found["orders"], [
        (_("Urgent"), words.number(found["urgent"])),
        (_("Oldest"), words.moment(found["oldest"])),
        (_("Youngest"), words.moment(found["youngest"])),
    ]


def seen(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """What tells such a sample's orders from others, all of them: another order in place of one is another act."""
    return (rows[0]["orders"], rows[0]["which"]) if rows else (0, 0)


def hindered(orders: int, none: str, words: Words, most: int = MOST_ORDERS) -> str | None:
    """Why so many orders cannot be taken by one act; `none` where there are none."""
    if orders > most:
        return words.gettext(TOO_MANY) % {"most": words.number(most)}
    return None if orders else none
