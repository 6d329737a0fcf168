"""The fields that filter orders, as forms and addresses have them: those of the API and of `relais order list`.

A list takes `since` and `until` as ages too. An act takes times alone, as the list that led to it understood them: what
was listed is what it is about, however long somebody thinks about it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from config.durations import bounded, duration, instant
from orders.identifiers import product
from orders.model import RANK
from orders.queries.order_filter import OrderFilter
from orders.refusals import NotDone
from orders.sentences import Sentence
from orders.states import Reason, State
from workers.console import fields as read
from workers.replay.choice import Choice


def moment(given: str) -> str:
    """A time, RFC 3339 with a zone or how long ago, as RFC 3339."""
    return instant(read.moment(given)).isoformat()


def stamp(given: str) -> str:
    """A time alone: RFC 3339 with a zone."""
    try:
        when = bounded(datetime.fromisoformat(given))
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise ValueError(Sentence(NotDone.STAMP))
    return when.isoformat()


def _product(given: str) -> str:
    try:
        return product(re.sub(r"[\s.-]", "", given))
    except ValueError as error:
        raise ValueError(Sentence(WRONG.get(str(error), NotDone.PRODUCT))) from None


def _offered(*known: str) -> read.Reader:
    def choose(given: str) -> str:
        if given not in known:
            raise ValueError(Sentence(NotDone.OFFERED))
        return given

    return choose


WRONG: Final = {each.one: each for each in (NotDone.PRODUCT_DIGITS, NotDone.PRODUCT_PREFIX, NotDone.CHECK_DIGIT)}

# What narrows orders beside their state.
NARROWING: Final[Mapping[str, read.Reader]] = {
    "pharmacy": read.line,
    "backend": read.backend,
    "client": read.line,
    "priority": _offered(*RANK),
    "reason": _offered(*Reason),
    "product": _product,
    "since": moment,
    "until": moment,
}
FILTER: Final[Mapping[str, read.Reader]] = {"state": _offered(*State), **NARROWING}


# The same for an act, and for one on the backlog of a backend that it names by itself.
CHOOSING: Final[Mapping[str, read.Reader]] = {**NARROWING, "since": stamp, "until": stamp}
OF_BACKLOG: Final[Mapping[str, read.Reader]] = {
    **{name: CHOOSING[name] for name in ("pharmacy", "client", "priority", "product", "since", "until")},
    "older": read.age,
    "younger": read.age,
}


ALIKE: Final = ("pharmacy", "client", "priority", "product", "reason")  # as a Choice has them


def filter_of(chosen: Mapping[str, Any]) -> OrderFilter:
    """The filter of fields that were read."""
    return OrderFilter(**{name: chosen[name] for name in FILTER if name in chosen} | _times(chosen))


def choice_of(chosen: Mapping[str, Any], of: str | None, state: State = State.ACCEPTED) -> Choice:
    """The orders of that state that fields which were read choose, of the backend `of`, of any when it is None."""
    named: dict[str, Any] = {name: chosen[name] for name in ALIKE if name in chosen} | _times(chosen)
    named |= {name: duration(chosen[name]) for name in ("older", "younger") if name in chosen}
    ids = chosen.get("ids")
    return Choice(state, backend=of, ids=tuple(UUID(each) for each in ids.split(",")) if ids else None, **named)


def _times(chosen: Mapping[str, Any]) -> dict[str, datetime]:
    return {name: datetime.fromisoformat(chosen[name]) for name in ("since", "until") if name in chosen}
