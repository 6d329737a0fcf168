"""Orders that are not in the journal yet: read out of the spill, and taken back there.

The journal is asked first. What neither store has is unknown (404) only where both could be asked: else 503.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from orders.api.state import ApiState
from orders.errors import JournalDown, NotFound
from orders.intake.routing import Routing
from orders.intake.spill import SpillSigner
from orders.intake.spilled import Cancellation, Spilled, cancel_spilled
from orders.intake.store import Cancelling, SpillDown, Store
from orders.journal import unreachable
from orders.states import State

Life = dict[str, Any]


class FromJournal(Protocol):
    """How an order is read from the journal. Raises NotFound."""

    def __call__(self) -> Awaitable[Life]: ...


class FromSpill(Protocol):
    """How it is looked for in the spill."""

    def __call__(self, store: Store, key: SpillSigner, route: Routing, /) -> Awaitable[Spilled | None]: ...


async def whole_life(api: ApiState, from_journal: FromJournal, from_spill: FromSpill) -> Life:
    """An order's life as the store that has it tells it. Raises NotFound, and JournalDown where one cannot be asked."""
    away: Exception | None = None
    try:
        if api.intake.spill is not None and not api.intake.store_switch.journal_up:
            raise ConnectionError("it was out of reach a moment ago")
        return await from_journal()
    except NotFound:
        if api.intake.spill is None:
            raise
    except (SQLAlchemyError, OSError) as error:
        if api.intake.spill is None or not unreachable(error):
            raise
        away = error
    try:
        found = await from_spill(*api.intake.spill, api.intake.route)
    except SpillDown:
        raise JournalDown("the spill is out of reach, where the order may be") from away
    if found is not None:
        return _life(found)
    if away is not None:
        raise away
    return await from_journal()  # it may have left the spill between the two


async def cancelled_in_spill(api: ApiState, order_id: UUID, client: str, request_id: str) -> bool:
    """Take back an order that was found in the spill; False where it has left it. Raises JournalDown."""
    assert api.intake.spill is not None
    try:
        done = await cancel_spilled(*api.intake.spill, api.intake.route, order_id, Cancellation(client, request_id))
    except SpillDown:
        raise JournalDown("the spill is out of reach") from None
    if done is Cancelling.TAKEN:
        raise JournalDown("the order may be in the journal already: ask again")
    return done is Cancelling.DONE


def _life(found: Spilled) -> Life:
    """As `orders.queries.orders.order`, of an order that nobody has tried to forward."""
    each, back = found.entry, found.cancellation
    return {
        "id": each.id,
        "pharmacy": each.pharmacy,
        "reference": each.reference,
        "digest": each.digest.hex(),
        "received_at": each.received_at,
        "client": each.client,
        "request_id": each.request_id,
        "rival": None,
        "state": State.CANCELLED if back is not None else State.ACCEPTED,
        "backend": each.backend,
        "due_at": each.received_at,
        "attempts": 0,
        "reason": None,
        "error": None,
        "settled_at": None,
        "kept": "spill",
        "order": json.loads(each.body),
        "history": [],
        "receipt": None,
    }
