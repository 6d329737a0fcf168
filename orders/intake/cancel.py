"""Cancelling: the pharmacy takes an order back while it is still ours.

During an outage pharmacies order elsewhere, and medicine delivered twice is a harm. So an order is cancelled only
where it is certain that the ERP does not have it: one whose last attempt ended in the unknown is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import NotFound, TooLate
from orders.intake.order_log import tell_cancelled
from orders.journal import transactional
from orders.refusals import NotDone
from orders.sentences import Sentence
from orders.states import CERTAINLY_OURS, TAKEN_BACK, State

Record = Callable[[AsyncConnection], Awaitable[None]]  # writes down who did it, in the transaction that does

CANCEL = text(f"""
UPDATE deliveries SET {TAKEN_BACK} WHERE order_id = :id AND {CERTAINLY_OURS}
RETURNING (SELECT request_id FROM orders WHERE id = order_id)
""")

# The same by a client, with the record of it: the intake has no other way to change a delivery.
BY_CLIENT = text("SELECT request_id FROM relais_cancel(:id, :client, :request)")

WHERE = text("SELECT state, unsure FROM deliveries WHERE order_id = :id")

WHY: Final = {
    State.DELIVERING: NotDone.BEING_FORWARDED,
    State.SUBMITTED: NotDone.TAKEN,
    State.DELIVERED: NotDone.DELIVERED,
    State.DISCARDED: NotDone.GIVEN_UP,
}


async def cancel(engine: AsyncEngine, order_id: UUID, client: str, request_id: str) -> None:
    """Cancel an order, and record who did; cancelling again changes nothing. Raises NotFound and TooLate."""
    async with transactional(engine).begin() as connection:
        values = {"id": order_id, "client": client, "request": request_id}
        done = (await connection.execute(BY_CLIENT, values)).one_or_none()
        row = None if done is not None else (await connection.execute(WHERE, {"id": order_id})).one_or_none()
    _tell(order_id, client, done, row)


async def cancel_by_operator(engine: AsyncEngine, order_id: UUID, operator: str, record: Record) -> bool:
    """The same for a pharmacy that asked an operator to, by whose `record` it is written down.

    False when the order was cancelled before. Raises NotFound and TooLate.
    """
    row = None
    async with transactional(engine).begin() as connection:
        done = (await connection.execute(CANCEL, {"id": order_id})).one_or_none()
        if done is not None:
            await record(connection)
        else:
            row = (await connection.execute(WHERE, {"id": order_id})).one_or_none()
    return _tell(order_id, operator, done, row)


def _tell(order_id: UUID, by: str, done: Row[Any] | None, row: Row[Any] | None) -> bool:
    """Whether it was `done` now; `row` is what stands there otherwise. Raises NotFound and TooLate."""
    if done is not None:
        tell_cancelled(order_id, done[0], by)
        return True
    if row is None:
        raise NotFound(Sentence(NotDone.UNKNOWN_ORDER, order=order_id))
    if row.state != State.CANCELLED:
        raise TooLate(row.state, Sentence(WHY.get(row.state, NotDone.PERHAPS_TAKEN)))
    return False
