"""The deposit: replies that a pharmacy's software has yet to fetch. A view of the journal, with one table of its own.

A reply is there from the moment when its order's fate is final until it is acknowledged; asking changes nothing, so
an answer that got lost is asked for again. Dead letters are not final for the pharmacy: a person decides first.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.pharmaml.mapping import CHANNEL
from orders.pharmaml.replies import Deposited
from orders.queries.orders import first_id
from orders.states import State, listed

KEPT: Final = timedelta(days=60)  # since the order was taken; bounds what is searched
REPLIED: Final = (State.DELIVERED, State.CANCELLED, State.DISCARDED)

_FINAL: Final = f"""
FROM orders o JOIN deliveries d ON d.order_id = o.id
WHERE o.pharmacy = :pharmacy AND o.id >= :since AND o.origin IS NOT NULL AND o.origin ->> 'channel' = '{CHANNEL}'
  AND d.state IN ({listed(REPLIED)})
"""

OLDEST: Final = text(f"""
SELECT o.id, o.reference, o.origin, d.state, r.reference AS own, r.lines
FROM (
  SELECT o.id {_FINAL} AND NOT EXISTS (SELECT FROM pharmaml_acknowledged a WHERE a.order_id = o.id)
  ORDER BY d.settled_at NULLS FIRST, o.id LIMIT 1
) first JOIN orders o USING (id) JOIN deliveries d ON d.order_id = o.id
LEFT JOIN LATERAL (
  SELECT reference, lines FROM receipts WHERE order_id = o.id ORDER BY received_at DESC LIMIT 1
) r ON d.state = '{State.DELIVERED}'
""")

ACKNOWLEDGE: Final = text(f"""
INSERT INTO pharmaml_acknowledged (order_id)
SELECT o.id {_FINAL} AND upper(right(replace(CAST(o.id AS text), '-', ''), 20)) = :message
ON CONFLICT DO NOTHING
""")


async def oldest(engine: AsyncEngine, pharmacy: str) -> Deposited | None:
    """The reply that has waited longest for this pharmacy, or None."""
    async with engine.connect() as connection:
        found = (await connection.execute(OLDEST, _of(pharmacy))).one_or_none()
    if found is None:
        return None
    return Deposited(found.id, found.reference, State(found.state), found.origin, found.lines or (), found.own)


async def acknowledge(engine: AsyncEngine, pharmacy: str, message: str) -> None:
    """Take out the reply of this REF_MESSAGE (`replying.message_reference`); another changes nothing."""
    async with engine.connect() as connection:
        await connection.execute(ACKNOWLEDGE, {**_of(pharmacy), "message": message.upper()})


def _of(pharmacy: str) -> dict[str, object]:
    return {"pharmacy": pharmacy, "since": first_id(datetime.now(UTC) - KEPT)}
