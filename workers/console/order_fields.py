"""The fields that filter orders, as forms and addresses have them: those of the API and of `relais order list`.

Times are read once and kept as times: what a page listed is what an act on all that match is about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from config.durations import instant
from orders.identifiers import product
from orders.model import RANK
from orders.queries.order_filter import OrderFilter
from orders.states import Reason, State
from workers.console import fields as read
from workers.console.i18n import N_


def moment(given: str) -> str:
    """A time, RFC 3339 with a zone or how long ago, as RFC 3339."""
    try:
        return instant(given).isoformat()
    except (ValueError, OverflowError):
        raise ValueError(
            N_("must be an age such as 6h or 2d, or a time with its zone: 2026-01-05T18:00:00+01:00")
        ) from None


def _product(given: str) -> str:
    return product(re.sub(r"[\s.-]", "", given))


def _offered(*known: str) -> read.Reader:
    def choose(given: str) -> str:
        if given not in known:
            raise ValueError(N_("must be one of those that are offered"))
        return given

    return choose


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


def filter_of(chosen: Mapping[str, Any]) -> OrderFilter:
    """The filter of fields that were read."""
    times = {name: datetime.fromisoformat(chosen[name]) for name in ("since", "until") if name in chosen}
    return OrderFilter(**{name: chosen[name] for name in FILTER if name in chosen} | times)
