"""Orders that are in the spill: found by their id or reference, and taken back while nobody journals them.

What says so is signed, as the records are: whoever can write to the store takes no order back.
"""

from __future__ import annotations

import json
from typing import NamedTuple
from uuid import UUID

from orders.intake.entries import Entry
from orders.intake.routing import Routing
from orders.intake.spill import Forged, SpillSigner, Unreadable, is_doubted, name_of, read_note, unseal
from orders.intake.store import Cancelling, Store


class Cancellation(NamedTuple):
    """Who took an order back while it was in the spill, and by which request."""

    client: str
    request_id: str


class Spilled(NamedTuple):
    """An order in the spill, who took it back, and whether the journal may have it, too."""

    entry: Entry
    cancellation: Cancellation | None
    doubted: bool


async def find(store: Store, key: SpillSigner, route: Routing, order_id: UUID) -> Spilled | None:
    """The order of this id, if it is there. Raises SpillDown."""
    raw, mark = await store.find(str(order_id).encode())
    if raw is None:
        return None
    try:
        entry = unseal(raw, key, route)
    except (Forged, Unreadable):
        return None
    return Spilled(entry, read_mark(order_id, mark, key), is_doubted(raw)) if entry.id == order_id else None


async def find_by_reference(
    store: Store, key: SpillSigner, route: Routing, pharmacy: str, reference: str
) -> Spilled | None:
    """The order of this pharmacy's reference, if it is there. Raises SpillDown."""
    name = name_of(pharmacy, reference)
    _, (value,) = await store.known([name])
    note = read_note(name, value, key) if value is not None else None
    return await find(store, key, route, UUID(note[0])) if note is not None else None


async def cancel_spilled(
    store: Store, key: SpillSigner, route: Routing, order_id: UUID, by: Cancellation
) -> Cancelling:
    """Mark an order that was found as taken back, on disk before this returns. Raises SpillDown.

    One that the journal may have, too, is not: a worker may be about to forward it.
    """
    found = await find(store, key, route, order_id)
    if found is not None and found.doubted:
        return Cancelling.TAKEN
    said = json.dumps(by._asdict(), separators=(",", ":")).encode()
    return await store.cancel(str(order_id).encode(), key.sign(b"cancel", _of(order_id, said)) + b"." + said)


def read_mark(order_id: UUID, mark: bytes | None, key: SpillSigner) -> Cancellation | None:
    """Who took the order back; None when nobody did, or the mark is not signed with a key of ours."""
    mac, _, said = (mark or b"").partition(b".")
    return Cancellation(**json.loads(said)) if key.verifies(b"cancel", _of(order_id, said), mac) else None


def _of(order_id: UUID, said: bytes) -> bytes:
    return str(order_id).encode() + b"." + said
