"""The audit: proves from the journal, and from nothing else, that no order is missing.

accepted = backlog + delivered + dead + cancelled + discarded, every order has exactly one delivery and every delivery
an order, every delivered order has a receipt, and every order's bytes still have the digest they were accepted with.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.journal import transactional
from orders.states import BACKLOG, FINAL

SNAPSHOT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
ACCEPTED = text("SELECT count(*) FROM orders")
BY_STATE = text("SELECT state, count(*) FROM deliveries GROUP BY state")
NO_DELIVERY = text("SELECT count(*) FROM orders o WHERE NOT EXISTS (SELECT FROM deliveries WHERE order_id = o.id)")
NO_ORDER = text("SELECT count(*) FROM deliveries d WHERE NOT EXISTS (SELECT FROM orders WHERE id = d.order_id)")
NO_RECEIPT = text("""
SELECT count(*) FROM deliveries d
WHERE state = 'delivered' AND NOT EXISTS (SELECT FROM receipts WHERE order_id = d.order_id)
""")
BODIES = text("SELECT body, digest FROM orders")


@dataclass(frozen=True, slots=True)
class Ledger:
    """The figures of an audit, in orders, and every way in which they do not hold."""

    accepted: int
    backlog: int
    delivered: int
    dead: int
    cancelled: int
    discarded: int
    faults: tuple[str, ...]

    @property
    def balanced(self) -> bool:
        """True when nothing is missing and nothing was altered."""
        return not self.faults


async def audit(engine: AsyncEngine) -> Ledger:
    """Read the whole journal in one snapshot, in bounded memory."""
    async with transactional(engine).connect() as connection:
        await connection.execute(SNAPSHOT)
        accepted = int((await connection.execute(ACCEPTED)).scalar_one())
        states = {row[0]: int(row[1]) for row in await connection.execute(BY_STATE)}
        wrong = {
            "orders without a delivery": (await connection.execute(NO_DELIVERY)).scalar_one(),
            "deliveries without an order": (await connection.execute(NO_ORDER)).scalar_one(),
            "delivered orders without a receipt": (await connection.execute(NO_RECEIPT)).scalar_one(),
            "orders whose bytes were altered": 0,
        }
        async for body, digest in await connection.stream(BODIES.execution_options(yield_per=1000)):
            wrong["orders whose bytes were altered"] += hashlib.sha256(body).digest() != digest
    return _ledger(accepted, states, wrong)


def _ledger(accepted: int, states: dict[str, int], wrong: dict[str, Any]) -> Ledger:
    backlog = sum(states.get(state, 0) for state in BACKLOG)
    delivered, dead, cancelled, discarded = (states.get(state, 0) for state in FINAL)
    final = delivered + dead + cancelled + discarded
    faults = [f"{count} {what}" for what, count in wrong.items() if count]
    if accepted != backlog + final:
        faults.insert(0, f"accepted {accepted} is not backlog {backlog} + final {final}")
    return Ledger(accepted, backlog, delivered, dead, cancelled, discarded, tuple(faults))
