"""The arithmetic of promise 6 by the time of acceptance: what does not add up, in which hour or day, of what orders.

Each order stands in the slice of its acceptance, whenever it became final. A delivered order needs a receipt of that
very delivery: one sent again after the ERP had forgotten it needs a new one, the first does not stand in. Where
receipts must be signed it needs a signed one, since the backend signs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.audit_codes import AuditCode
from orders.states import BACKLOG, FINAL, State, listed

Unit = Literal["hour", "day"]

MOST_IDS: Final = 20  # named of each fault
SHORT: Final = timedelta(days=8)  # a journal as old as that is told by the hour

RECEIPT: Final = (
    "SELECT FROM receipts r WHERE r.order_id = d.order_id AND r.backend = d.backend AND r.received_at >= d.settled_at"
)
EXCUSED: Final = "r.received_at < (CAST(:since AS timestamptz[]))[array_position(CAST(:signing AS text[]), r.backend)]"
WRONG: Final = {
    AuditCode.NO_DELIVERY: "d.order_id IS NULL",
    AuditCode.NO_ORDER: "o.id IS NULL",
    AuditCode.UNRECEIPTED: f"d.state = '{State.DELIVERED}' AND NOT EXISTS ({RECEIPT})",
    AuditCode.UNSIGNED: (
        f":required AND d.state = '{State.DELIVERED}' AND EXISTS ({RECEIPT}) "
        f"AND NOT EXISTS ({RECEIPT} AND (r.key_id IS NOT NULL OR {EXCUSED}))"
    ),
}
# Since when a backend signs: its first signed receipt; before that, since the first key that was registered for it.
SIGNING: Final = text("""
SELECT k.backend, coalesce(
  (SELECT min(received_at) FROM receipts r WHERE r.backend = k.backend AND key_id IS NOT NULL), min(added_at)) AS since
FROM receipt_keys k GROUP BY k.backend
""")
BOOKS: Final = "orders o FULL JOIN deliveries d ON d.order_id = o.id"
AT: Final = "coalesce(o.received_at, d.accepted_at)"
_COUNTS: Final = ", ".join(
    f"count(*) FILTER (WHERE {condition}) AS {name}"
    for name, condition in {
        "accepted": "o.id IS NOT NULL",
        "backlog": f"d.state IN ({listed(BACKLOG)})",
        **{str(state): f"d.state = '{state}'" for state in FINAL},
        **{f"wrong_{number}": condition for number, condition in enumerate(WRONG.values())},
    }.items()
)
SLICES: Final = text(f"SELECT date_trunc(:unit, {AT}) AS since, {_COUNTS} FROM {BOOKS} GROUP BY 1 ORDER BY 1")
SPAN: Final = text("SELECT min(received_at), max(received_at) FROM orders")
IDS: Final = {
    what: text(f"SELECT coalesce(o.id, d.order_id) FROM {BOOKS} WHERE {condition} ORDER BY 1 LIMIT {MOST_IDS}")
    for what, condition in WRONG.items()
}


@dataclass(frozen=True, slots=True)
class Slice:
    """The orders accepted in one hour or day from `since` on, by where they are now."""

    since: datetime
    accepted: int
    backlog: int
    delivered: int
    dead: int
    cancelled: int
    discarded: int
    wrong: dict[AuditCode, int]

    @property
    def balanced(self) -> bool:
        """True when the slice adds up."""
        final = self.delivered + self.dead + self.cancelled + self.discarded
        return self.accepted == self.backlog + final and not self.wrong


@dataclass(frozen=True, slots=True)
class Books:
    """The whole journal in slices, and the ids of what is wrong, at most MOST_IDS of each kind."""

    unit: Unit
    slices: list[Slice]
    ids: dict[AuditCode, list[UUID]] = field(default_factory=dict)

    def total(self, name: str) -> int:
        """A figure of all slices."""
        return sum(getattr(each, name) for each in self.slices)


async def read_books(connection: AsyncConnection, unit: Unit | None = None, *, signed: bool = False) -> Books:
    """Read every order and delivery once; by the hour where the journal is young, else by the day.

    `signed` says that receipts must be.
    """
    if unit is None:
        first, last = (await connection.execute(SPAN)).one()
        unit = "hour" if first is None or last - first <= SHORT else "day"
    signing = (await connection.execute(SIGNING)).all() if signed else []
    values = {"required": signed, "signing": [row.backend for row in signing], "since": [row.since for row in signing]}
    slices = [_slice(row) for row in await connection.execute(SLICES, {"unit": unit, **values})]
    kinds = [what for what in WRONG if any(what in each.wrong for each in slices)]
    ids = {what: [row[0] for row in await connection.execute(IDS[what], values)] for what in kinds}
    return Books(unit, slices, ids)


def _slice(row: Any) -> Slice:
    figures = dict(row._mapping)
    counts = {what: figures.pop(f"wrong_{number}") for number, what in enumerate(WRONG)}
    return Slice(**figures, wrong={what: count for what, count in counts.items() if count})
