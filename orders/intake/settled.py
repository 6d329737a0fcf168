"""Orders of the spill that are final as they are journalled: taken back, or without the place that they were told of.

What was answered 202 is an order whatever became of it. One whose reference or Idempotency-Key another order has is a
dead letter that names its rival; one that was taken back while it was in the spill is never forwarded. Writing either
again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.errors import Conflict, KeyReused, RelaisError
from orders.intake.cancel import CANCEL, WHERE
from orders.intake.entries import COLUMNS, Accepted, Entry, answers, in_columns, inserting
from orders.intake.spilled import Cancellation
from orders.refusals import NotDone
from orders.schema.acts import CANCELLED
from orders.sentences import Sentence
from orders.states import Reason, State

MORE: Final = {
    "state": "text",
    "rival": "uuid",
    "error": "text",
    "why": "jsonb",
    "client_of_cancel": "text",
    "request_of_cancel": "text",
}
INSERT: Final = text(
    inserting(
        COLUMNS | MORE,
        "state",
        order={"rival": "rival"},
        delivery={
            "reason": f"CASE state WHEN '{State.DEAD}' THEN '{Reason.CONFLICT}' END",
            "error": "error",
            "why": "why",
            "settled_at": "now()",
        },
        also=f""", told AS (
  INSERT INTO operations (act, operator, detail)
  SELECT '{CANCELLED}', 'client ' || client_of_cancel, jsonb_build_object('order', id, 'request', request_of_cancel)
  FROM input JOIN fresh USING (id) WHERE client_of_cancel IS NOT NULL
)""",
    )
)


TAKE_BACK: Final = text(f"""
WITH done AS ({CANCEL.text})
INSERT INTO operations (act, operator, detail)
SELECT '{CANCELLED}', 'client ' || :client,
  jsonb_build_object('order', CAST(:id AS uuid), 'request', CAST(:request AS text)) FROM done RETURNING id
""")


class Settled(NamedTuple):
    """An entry, and as what it is journalled."""

    entry: Entry
    state: State
    rival: UUID | None = None
    error: Sentence | None = None
    cancellation: Cancellation | None = None


async def settle(connection: AsyncConnection, group: Sequence[Settled]) -> list[Accepted | RelaisError]:
    """Journal a group in one statement; what came of each, as `orders.intake.entries.write` says it."""
    if not group:
        return []
    ordered = sorted(group, key=lambda each: (each.entry.pharmacy, each.entry.reference))
    backs = [each.cancellation or (None, None) for each in ordered]
    columns = {
        **in_columns([each.entry for each in ordered]),
        **{name: [getattr(each, name) for each in ordered] for name in ("state", "rival", "error")},
        "why": [each.error and json.dumps(each.error.stored()) for each in ordered],
        "client_of_cancel": [client for client, _ in backs],
        "request_of_cancel": [request for _, request in backs],
    }
    row = (await connection.execute(INSERT, columns)).one()
    return await answers(connection, [each.entry for each in group], set(row[0] or ()))


def lost(entry: Entry, answer: Conflict | KeyReused, cancellation: Cancellation | None) -> Settled:
    """An entry whose place another order has; one that was taken back needs nobody all the same."""
    rival = UUID(answer.first)
    if cancellation is not None:
        return Settled(entry, State.CANCELLED, rival, None, cancellation)
    why = NotDone.HAS_KEY if isinstance(answer, KeyReused) else NotDone.HAS_REFERENCE
    return Settled(entry, State.DEAD, rival, Sentence(why, order=rival))


async def take_back(connection: AsyncConnection, entry: Entry, first: UUID, cancellation: Cancellation) -> Settled:
    """An entry that was taken back and had been accepted before as `first`, which is taken back with it; where it is
    too late for that a person has to know.
    """
    values = {"id": first, "client": cancellation.client, "request": cancellation.request_id}
    if (await connection.execute(TAKE_BACK, values)).one_or_none() is None:
        state = (await connection.execute(WHERE, {"id": first})).one().state
        if state != State.CANCELLED:
            error = Sentence(NotDone.BACK_TOO_LATE, state=state, order=first)
            return Settled(entry, State.DEAD, first, error, cancellation)
    return Settled(entry, State.CANCELLED, first, None, cancellation)
