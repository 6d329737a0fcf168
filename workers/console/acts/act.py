"""What an act is to the console: it is chosen, shown, reasoned, run once, and says what came of it.

Each room names its acts; `registry` puts them together for the application, and the pages of this room run
them all alike. An act's own functions are those of the command line: they write `operations` in the transaction that
does it, under the name of whoever is at the console (`workers.operations.acting_as`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from orders.errors import RelaisError
from orders.sentences import Sentence
from workers.console.access.people import Role
from workers.console.i18n import N_, Words
from workers.console.state import ConsoleState

Chosen = dict[str, Any]  # what the act is about, as JSON has it

NAMED: Final = (("pharmacy", N_("Pharmacy")), ("reference", N_("Reference")), ("id", N_("Order")))
COLUMNS: Final = (*NAMED, ("accepted_at", N_("Accepted")))  # of a sample of orders, by what people know them by


def digest_of(*seen: Any) -> str:
    """A digest of what a person judges an act by."""
    return hashlib.sha256(json.dumps(seen, default=str, sort_keys=True).encode()).hexdigest()


class Stopped(RelaisError):
    """Somebody stopped the act, or the console ends; what was done before stays done.

    An act that has something to tell of that sets `outcome` and lets it pass.
    """

    outcome: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What an act would touch, as it stands now.

    `orders` is how many, None for an act that touches none by itself. `facts` are names and values, both worded in
    the person's language; `sample` at most ten rows, with `columns` of (key, heading marked with N_). `sees` is a
    digest of all that a person would judge by: an act is refused when it is another by then. `hindered` says why it
    cannot be done now. `confirm` is what has to be typed before a dangerous act; None is the backend that is chosen,
    else the count.
    """

    orders: int | None
    facts: Sequence[tuple[str, str]] = ()
    sample: Sequence[Mapping[str, Any]] = ()
    columns: Sequence[tuple[str, str]] = COLUMNS
    sees: str = ""
    hindered: str | None = None
    warning: str | None = None
    confirm: str | None = None


class Running(Protocol):
    """What an act that runs tells while it does, and what the person saw who decided."""

    @property
    def sees(self) -> str:
        """The digest of the preview that it was decided by."""

    async def at(self, done: int, total: int | None, note: Sentence | None = None) -> None:
        """So much of so much is done; raises Stopped when somebody asked to stop. To be called between batches."""


@dataclass(frozen=True, slots=True)
class Act:
    """One kind of act.

    `choose` makes what it is about of a form's or an address's fields, and raises Malformed naming each that is
    wrong. Fields are trimmed, one line each, and hold no control characters; empty ones are not there; one that came
    several times (`id`) is one text, with commas between. `preview` and `run` know who asks
    (`workers.operations.operator`). `run` does it and returns what came of it, as JSON; it raises NotSo when things
    are not as they have to be. Its state's engine lets a statement take minutes. An act that is `long` runs on after
    the answer to the click, and can be stopped.
    """

    kind: str
    title: str  # marked with N_
    button: str  # marked with N_: what the button says that does it
    role: Role
    choose: Callable[[Mapping[str, str]], Chosen]
    preview: Callable[[ConsoleState, Chosen, Words], Awaitable[Preview]]
    run: Callable[[ConsoleState, Chosen, str, Running], Awaitable[dict[str, Any]]]
    long: bool = False
    danger: bool = False
    after: str = ""  # the page that shows what came of it, with keys of the outcome; else the act's own
    told: Mapping[str, str] = field(default_factory=dict)  # keys of the outcome -> headings marked with N_
