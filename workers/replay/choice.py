"""Which orders: the choice that a preview and its act share, to the very query."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from orders.model import Priority
from orders.queries.order_filter import CONDITIONS, parameter
from orders.states import Reason, State

BATCH: Final = 1_000  # orders of one transaction, where an act goes in several


@dataclass(frozen=True, slots=True)
class Choice:
    """Which orders: every field that is not None narrows it. `reason` chooses dead letters by their reason, `cause`
    by their cause, `before` those that became so until then; `older` and `younger` are ages since acceptance; `ids`
    are orders' ids; the others are as in an `OrderFilter`. `fit` leaves out what can never go through again, since
    another order has its place.
    """

    state: State = State.ACCEPTED
    pharmacy: str | None = None
    priority: Priority | None = None
    reason: str | None = None
    older: timedelta | None = None
    younger: timedelta | None = None
    backend: str | None = None
    client: str | None = None
    product: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: tuple[UUID, ...] | None = None
    cause: int | None = None
    before: datetime | None = None
    fit: bool = False

    def values(self) -> dict[str, Any]:
        """The parameters of `CHOSEN`."""
        shared = {name: parameter(name, getattr(self, name)) for name in CONDITIONS}
        return {**asdict(self), **shared, "ids": None if self.ids is None else list(self.ids)}


_NARROWING = "".join(
    f"\n    AND (CAST(:{name} AS {kind}) IS NULL OR {condition})"
    for name, (kind, condition) in CONDITIONS.items()
    if name != "state"
)

CHOSEN = f"""
  FROM deliveries d JOIN orders o ON o.id = d.order_id
  WHERE d.state = :state{_NARROWING}
    AND (CAST(:older AS interval) IS NULL OR d.accepted_at < now() - CAST(:older AS interval))
    AND (CAST(:younger AS interval) IS NULL OR d.accepted_at > now() - CAST(:younger AS interval))
    AND (CAST(:ids AS uuid[]) IS NULL OR d.order_id = ANY(CAST(:ids AS uuid[])))
    AND (CAST(:cause AS bigint) IS NULL OR d.cause = :cause)
    AND (CAST(:before AS timestamptz) IS NULL OR d.settled_at <= :before)
    AND (NOT CAST(:fit AS boolean) OR d.reason IS DISTINCT FROM '{Reason.CONFLICT}')
"""

# Of what is chosen, as every preview tells it: orders `o` and their deliveries `d`.
FIGURES = """
  count(*) AS orders, count(DISTINCT o.pharmacy) AS pharmacies, min(d.accepted_at) AS oldest,
  max(d.accepted_at) AS youngest, count(*) FILTER (WHERE d.priority = 0) AS urgent
"""


def narrowed(choice: Choice) -> dict[str, Any]:
    """What narrows the choice, for the record."""
    return {name: value for name, value in asdict(choice).items() if value is not None and name != "fit"}
