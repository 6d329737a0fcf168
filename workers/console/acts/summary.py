"""An act put into words for a page: its state, how far it is, what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from orders.model import RANK
from orders.states import Reason
from workers.console.acts.act import Act
from workers.console.i18n import N_, NONE, Words
from workers.console.labels import ASKED
from workers.console.labels import STATES as STATE_NAMES
from workers.console.masking import say

LEADS: Final = {
    "backend": "/backend/{}",
    "to": "/backend/{}",
    "from": "/backend/{}",
    "order": "/order/{}",
    "cause": "/dead/{}",
    "replay": "/recovery/replays/{}",
    "run": "/recovery/reconciliations/{}",
    "reconciliation": "/recovery/reconciliations/{}",
    "report": "{}",
}
Told = tuple[str, str, str | None]  # heading, value, and the page that it leads to

WORDS: Final = frozenset({"yes", *RANK, *Reason})  # that have a translation
LISTED: Final = 10  # of a list
SHORT: Final = 120  # characters of what was asked
STATES: Final = {
    "running": ("quiet", N_("Running")),
    "done": ("good", N_("Done")),
    "failed": ("bad", N_("Not done")),
    "stopped": ("warn", N_("Stopped")),
    "interrupted": ("bad", N_("Interrupted")),
}
HEADLINES: Final = {
    "NotSo": N_("It is not so any more: nothing was done."),
    "TooLate": N_("It is too late for that: nothing was done."),
    "NotFound": N_("Nothing goes by that name: nothing was done."),
    "Malformed": N_("What was chosen cannot be used: nothing was done."),
    "Forbidden": N_("You may not do this: nothing was done."),
    "fault": N_("Something went wrong here. What it had done before stays done."),
    "stop": N_("It was stopped. What it had done before stays done."),
    "role": N_("It was stopped, since the account of its operator may not do this any more."),
    "console": N_("The console that ran it ended. What it had done before stays done."),
    "journal": N_("The journal was lost in the middle of it: nobody knows whether the last step was done."),
    "lost": N_("The console that ran it has gone: nobody saw how it ended."),
}


def state_of(row: Mapping[str, Any], words: Words) -> tuple[str, str]:
    """How an act stands: the kind of its pill, and the word."""
    kind, word = STATES[row["state"]]
    return kind, words.gettext(word)


def headline(row: Mapping[str, Any], words: Words) -> str | None:
    """Why it is not done, in the person's language; None for one that is done, or runs."""
    if row["why"] is None:
        return None
    return words.gettext(HEADLINES.get(row["why"], N_("It failed.")))


def left(row: Mapping[str, Any]) -> float | None:
    """Seconds until it is done at the rate it had so far; None where that cannot be said."""
    took = ((row["ended_at"] or datetime.now(UTC)) - row["started_at"]).total_seconds()
    if row["state"] != "running" or not row["total"] or not 0 < row["done"] <= row["total"]:
        return None
    return float((row["total"] - row["done"]) * took / row["done"])


def outcome(act: Act | None, row: Mapping[str, Any], words: Words) -> list[Told]:
    """What came of it, in the order in which the act names it."""
    found = row["outcome"] or {}
    told = act.told if act is not None and act.told else {key: key for key in found}
    return [
        (words.gettext(heading), said(found[key], words), leads(key, found[key]))
        for key, heading in told.items()
        if key in found
    ]


def about(row: Mapping[str, Any], words: Words) -> list[Told]:
    """What it was about, shortly: the fields that chose it."""
    return [
        (words.gettext(ASKED.get(name, name)), asked(name, str(value), words), leads(name, value))
        for name, value in row["fields"].items()
    ]


def narrowing(chosen: Mapping[str, Any], names: Iterable[str], words: Words) -> list[tuple[str, str]]:
    """Those of its fields that narrow a choice, as facts."""
    return [(words.gettext(ASKED[name]), asked(name, chosen[name], words)) for name in names if name in chosen]


def leads(name: str, value: Any) -> str | None:
    """The console's page of what is named; None where there is none."""
    if name not in LEADS or value in (None, ""):
        return None
    return LEADS[name].format(quote(str(value)))


def asked(name: str, value: str, words: Words) -> str:
    """A field that chose it, as a person reads it."""
    if name in ("id", "ids"):
        return words.number(value.count(",") + 1)
    if name == "state":
        return words.gettext(STATE_NAMES.get(value, (value, ""))[0])
    if name in ("before", "since", "until"):
        with suppress(ValueError):  # an age
            return words.moment(words.typed(value))
    if value in WORDS:
        return words.gettext(value)
    return value if len(value) <= SHORT else f"{value[:SHORT]}\N{HORIZONTAL ELLIPSIS}"


def back(fields: Mapping[str, str]) -> str:
    """The page that whoever does nothing after all goes back to."""
    return next(
        (page for name, value in fields.items() if (page := leads(name, value))), "/dead" if "id" in fields else "/"
    )


def said(value: Any, words: Words) -> str:
    """A value as a person reads it."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return words.gettext(N_("yes") if value else N_("no"))
    if isinstance(value, int | float):
        return words.number(value, 2)
    if isinstance(value, datetime):
        return words.moment(value)
    if isinstance(value, Mapping) and "code" in value:
        return say(value, words)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}{words.colon} {said(each, words)}" for key, each in value.items()) or NONE
    if isinstance(value, list | tuple):
        rest = len(value) - LISTED
        more = [words.gettext(N_("and {n} more")).format(n=words.number(rest))] if rest > 0 else []
        return ", ".join([*(said(each, words) for each in value[:LISTED]), *more]) or NONE
    return words.gettext(str(value))
