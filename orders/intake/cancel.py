"""Cancelling: the pharmacy takes an order back while it is still ours.

During an outage pharmacies order elsewhere, and medicine delivered twice is a harm. So an order is cancelled only
where it is certain that the ERP does not have it: one whose last attempt ended in the unknown is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import NotFound, TooLate
from orders.intake.order_log import tell_cancelled
from orders.journal import transactional
from orders.schema.tables.core import operations
from orders.states import State, listed

ACT: Final = "order cancel"  # its name in `operations`
Record = Callable[[AsyncConnection], Awaitable[None]]  # writes down who did it, in the transaction that does

CANCELLABLE: Final = (State.ACCEPTED, State.DISPATCHED, State.DEAD)

CANCEL = text(f"""
UPDATE deliveries SET state = '{State.CANCELLED}', settled_at = now(), lease_until = NULL, reason = NULL
WHERE order_id = :id AND state IN ({listed(CANCELLABLE)}) AND NOT unsure
RETURNING (SELECT request_id FROM orders WHERE id = order_id)
""")

WHERE = text("SELECT state, unsure FROM deliveries WHERE order_id = :id")

WHY: Final = {
    State.DELIVERING: "the order is being forwarded to the ERP",
    State.SUBMITTED: "the ERP has taken the order",
    State.DELIVERED: "the ERP has accepted the order",
    State.DISCARDED: "an operator has given the order up",
}


async def cancel(engine: AsyncEngine, order_id: UUID, client: str, request_id: str) -> None:
    """Cancel an order, and record who did; cancelling again changes nothing. Raises NotFound and TooLate."""

    async def record(connection: AsyncConnection) -> None:
        detail = {"order": str(order_id), "request": request_id}
        await connection.execute(insert(operations).values(act=ACT, operator=f"client {client}", detail=detail))

    await _cancel(engine, order_id, client, record)


async def cancel_by_operator(engine: AsyncEngine, order_id: UUID, operator: str, record: Record) -> bool:
    """The same for a pharmacy that asked an operator to, by whose `record` it is written down.

    False when the order was cancelled before. Raises NotFound and TooLate.
    """
    return await _cancel(engine, order_id, operator, record)


async def _cancel(engine: AsyncEngine, order_id: UUID, by: str, record: Record) -> bool:
    async with transactional(engine).begin() as connection:
        done = (await connection.execute(CANCEL, {"id": order_id})).one_or_none()
        if done is not None:
            await record(connection)
        else:
            row = (await connection.execute(WHERE, {"id": order_id})).one_or_none()
    if done is not None:
        tell_cancelled(order_id, done[0], by)
        return True
    if row is None:
        raise NotFound(f"no order {order_id}")
    if row.state != State.CANCELLED:
        raise TooLate(row.state, WHY.get(row.state, "the order may be with the ERP: an attempt ended in the unknown"))
    return False
