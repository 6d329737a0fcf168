"""Which orders, for whoever lists or chooses them: the API, the command line, the console, and acts on all that match.

Each condition is written once, over an order `o` and its delivery `d`. When an order was taken is in its id (UUIDv7),
so that times are ranges of an index.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from orders.model import RANK, Priority
from orders.queries.orders import first_id
from orders.states import Reason, State

# The type of each condition's parameter, and the condition. A product stands in an order's canonical bytes (RFC 8785)
# in one way, which no text in it can look like: its quotation marks would be escaped.
CONDITIONS: Final[Mapping[str, tuple[str, str]]] = {
    "state": ("text", "d.state = :state"),
    "pharmacy": ("text", "o.pharmacy = :pharmacy"),
    "backend": ("text", "d.backend = :backend"),
    "client": ("text", "o.client = :client"),
    "priority": ("smallint", "d.priority = :priority"),
    "reason": ("text", "d.reason = :reason"),
    "product": ("bytea", "position(CAST(:product AS bytea) IN o.body) > 0"),
    "since": ("uuid", "o.id >= :since"),
    "until": ("uuid", "o.id < :until"),
}


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Every field that is not None narrows it. `product` is 13 digits; `since` and `until` are when an order was taken,
    the latter not included; a `reason` without a state is that of dead letters.
    """

    state: State | None = None
    pharmacy: str | None = None
    backend: str | None = None
    client: str | None = None
    priority: Priority | None = None
    reason: Reason | None = None
    product: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def standing(self) -> State | None:
        """The state that they are in, where it asks for one."""
        return State.DEAD if self.state is None and self.reason is not None else self.state

    def values(self) -> dict[str, Any]:
        """The parameters of its conditions."""
        found = {name: parameter(name, getattr(self, name)) for name in CONDITIONS} | {"state": self.standing}
        return {name: value for name, value in found.items() if value is not None}

    def conditions(self) -> list[str]:
        """The conditions, as SQL."""
        return [CONDITIONS[name][1] for name in self.values()]


ANY: Final = OrderFilter()


def parameter(name: str, value: Any) -> Any:
    """A field's value as its condition takes it."""
    if value is None:
        return None
    if name == "priority":
        return RANK[value]
    if name == "product":
        return f'"product":"{value}"'.encode()
    return first_id(value) if name in ("since", "until") else value
