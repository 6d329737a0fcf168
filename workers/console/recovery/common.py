"""What the acts of a recovery have in common: how a backend stands in words, what was chosen, and how it is read.

An act on a whole backlog is one statement: it gets an engine of its own, as the command line has, so that no page
waits behind it and no page's bound ends it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar

from config.settings import Settings
from config.settings.routes_file import load_backends
from orders.errors import NotFound
from orders.queries import backends as backend_rows
from orders.refusals import NotDone
from orders.sentences import Sentence
from workers.console.acts import summary
from workers.console.i18n import Words
from workers.console.masking import say
from workers.console.state import ConsoleState

T = TypeVar("T")
Row = dict[str, Any]

FILTERS: Final = ("pharmacy", "client", "priority", "product", "since", "until", "older", "younger", "ids")


async def backends_of(state: ConsoleState, *names: str | None) -> dict[str, Row]:
    """The journal's rows of the backends, by name. Raises NotFound when neither it nor the settings know one."""
    rows = {row["name"]: row for row in await backend_rows.standing(state.engine)}
    known = load_backends(state.settings)
    for name in names:
        if name is not None and name not in rows and name not in known:
            raise NotFound(Sentence(NotDone.NO_BACKEND, backend=name))
    return rows


def settings_for(state: ConsoleState, name: str) -> Settings:
    """The settings of that backend. Raises NotFound when they do not know it."""
    known = load_backends(state.settings, tokens=True)
    if name not in known:
        raise NotFound(Sentence(NotDone.BACKEND_ELSEWHERE, backend=name, known=", ".join(known)))
    return known[name]


def held(row: Row | None) -> tuple[Any, ...]:
    """Of a backend's standing, what an operator judges by."""
    if row is None:
        return ()
    return row["paused"], row["quarantined"], row["circuit"] == "closed"


def how(row: Row | None, words: Words) -> str:
    """How a backend stands, in a few words."""
    if row is None:
        return words.gettext("No worker has ever run for it")
    if row["quarantined"] or row["paused"]:
        told = words.gettext("In quarantine") if row["quarantined"] else words.gettext("Paused")
        return f"{told} ({say(row['held_why'], words)})" if row["held_why"] else told
    if row["circuit"] == "closed":
        return words.gettext("Takes orders")
    return words.gettext("The circuit is open") if row["circuit"] == "open" else words.gettext("One canary is out")


def narrowing(chosen: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """What narrows a choice, as facts; that nothing does is one too."""
    facts = summary.narrowing(chosen, FILTERS, words)
    return facts or [(words.gettext("Chosen"), words.gettext("the whole backlog"))]


def ordered(found: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """The figures of a preview (`workers.replay.redrive.PREVIEW`) as facts."""
    return [
        (words.gettext("Pharmacies"), words.number(found["pharmacies"])),
        (words.gettext("Urgent"), words.number(found["urgent"])),
        (words.gettext("Oldest"), words.moment(found["oldest"])),
        (words.gettext("Youngest"), words.moment(found["youngest"])),
    ]


async def in_time(reading_it: Awaitable[T]) -> T | None:
    """What is read, or None where the journal would have to count for longer than a page may wait."""
    try:
        return await reading_it
    except TimeoutError:
        return None
