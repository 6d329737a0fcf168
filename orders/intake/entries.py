"""Entries: orders on their way into the journal, and the one statement that writes a group of them.

The statement is idempotent on (pharmacy, reference) and on (client, Idempotency-Key), so whatever may not have
arrived is simply written again. The commit itself notifies the dispatcher. Intake writes what comes in, and the
leading dispatcher what was spilled: both by these functions, so that they cannot disagree.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from config.telemetry.spans import CURRENT
from orders.errors import Conflict, KeyReused, RelaisError
from orders.journal.connection import DUE_CHANNEL, REPLICATED
from orders.model import RANK, Order, canonical, digest
from orders.states import State

COLUMNS: Final = {
    "id": "uuid",
    "pharmacy": "text",
    "reference": "text",
    "body": "bytea",
    "digest": "bytea",
    "client": "text",
    "priority": "smallint",
    "cut_off": "timestamptz",
    "valid_until": "timestamptz",
    "received_at": "timestamptz",
    "request_id": "text",
    "key": "text",
    "origin": "text",
    "backend": "text",
    "traceparent": "text",
}
NONE: Final[Mapping[str, str]] = MappingProxyType({})
NO_ORDERS: Final[Mapping[str, list[Any]]] = {name: [] for name in COLUMNS}  # the arrays of a group of none
LINES: Final = 4  # bits of a line's number that are the pharmacy's; the others are the client's
LINE: Final = f"((hashtext(client) >> {LINES}) << {LINES}) | (hashtext(pharmacy) & {2**LINES - 1})"
WRITTEN: Final = f"SELECT array_agg(order_id), pg_notify('{DUE_CHANNEL}', '') FROM due"


def inserting(
    columns: Mapping[str, str],
    state: str,
    *,
    order: Mapping[str, str] = NONE,
    delivery: Mapping[str, str] = NONE,
    also: str = "",
    answer: str = WRITTEN,
) -> str:
    """The statement that writes a group: `columns` and their types come in as arrays; `order` and `delivery` are what
    the two tables get beside the usual (column, expression), `also` is one more part of the statement, and `answer`
    what it selects in the end.
    """
    to_order, of_order, to_delivery, of_delivery = (
        "".join(f", {each}" for each in more) for more in (order, order.values(), delivery, delivery.values())
    )
    given = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
    return f"""
WITH input AS (SELECT * FROM unnest({given}) AS t ({", ".join(columns)})
), fresh AS (
  INSERT INTO orders (id, pharmacy, reference, body, digest, client, received_at, request_id, idempotency_key, origin,
    traceparent{to_order})
  SELECT id, pharmacy, reference, body, digest, client, coalesce(received_at, now()), request_id, key,
    CAST(origin AS jsonb), traceparent{of_order} FROM input
  ON CONFLICT DO NOTHING RETURNING id
), due AS (
  INSERT INTO deliveries (order_id, state, backend, client, priority, cut_off, valid_until, accepted_at{to_delivery})
  SELECT id, {state}, backend, {LINE}, priority,
    CASE WHEN cut_off > coalesce(received_at, now()) THEN cut_off ELSE 'infinity' END, valid_until,
    coalesce(received_at, now()){of_delivery} FROM input JOIN fresh USING (id) RETURNING order_id
){also}
{answer}
"""


INSERT = text(inserting(COLUMNS, f"'{State.ACCEPTED}'"))

# The first may be seen and yet be on no standby that has to have it: it is answered for only once it is there.
FIRST = text(f"""
SELECT t.number, o.id, o.digest, (SELECT {REPLICATED})
FROM unnest(CAST(:pharmacy AS text[]), CAST(:reference AS text[]))
  WITH ORDINALITY AS t (pharmacy, reference, number) JOIN orders o USING (pharmacy, reference)
WHERE o.rival IS NULL
""")

FIRST_BY_KEY = text("""
SELECT t.number, o.id, o.digest FROM unnest(CAST(:client AS text[]), CAST(:key AS text[]))
  WITH ORDINALITY AS t (client, key, number) JOIN orders o ON o.client = t.client AND o.idempotency_key = t.key
WHERE o.rival IS NULL
""")


@dataclass(frozen=True, slots=True)
class Accepted:
    """An order that is on disk: its id, whether this very order had been accepted before, and in which store."""

    id: UUID
    repeated: bool
    kept: str = "journal"  # or "spill"


class Entry(NamedTuple):
    """An order as the journal will hold it; `received_at` None is the moment of writing, `key` the client's own,
    `backend` where it goes, `traceparent` the trace that it belongs to.
    """

    id: UUID
    pharmacy: str
    reference: str
    body: bytes
    digest: bytes
    client: str
    priority: int
    cut_off: datetime | None
    valid_until: datetime | None
    received_at: datetime | None
    request_id: str | None
    key: str | None
    origin: str | None  # JSON
    backend: str
    traceparent: str | None = None


def entry(
    order: Order,
    client: str,
    backend: str,
    *,
    request_id: str | None = None,
    key: str | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Entry:
    """An order, new to us, with the id that it will have."""
    body = canonical(order)
    return Entry(
        uuid7(),
        order.pharmacy,
        order.reference,
        body,
        digest(body),
        client,
        RANK[order.priority],
        order.cut_off,
        order.valid_until,
        None,
        request_id,
        key,
        None if origin is None else json.dumps(origin, ensure_ascii=False),
        backend,
        CURRENT.get().traceparent,
    )


async def write(connection: AsyncConnection, group: Sequence[Entry]) -> list[Accepted | RelaisError]:
    """Journal a group in one statement, on a connection in autocommit; what came of each, in their order.

    RelaisError is a Conflict or a KeyReused. Raises what the journal raises.
    """
    # Sorted, so that two groups cannot deadlock on each other's references.
    ordered = sorted(group, key=lambda each: (each.pharmacy, each.reference))
    row = (await connection.execute(INSERT, in_columns(ordered))).one()
    return await answers(connection, group, set(row[0] or ()))


def in_columns(group: Sequence[Entry]) -> dict[str, list[Any]]:
    """The parameters of `COLUMNS`."""
    return dict(zip(COLUMNS, map(list, zip(*group, strict=True)), strict=True))


async def answers(
    connection: AsyncConnection, group: Sequence[Entry], fresh: Collection[UUID]
) -> list[Accepted | RelaisError]:
    """What came of a group of which those in `fresh` were written."""
    others = [each for each in group if each.id not in fresh]
    known = await _firsts(connection, others) if others else {}
    return [Accepted(each.id, False) if each.id in fresh else _not_fresh(each, known[each.id]) for each in group]


async def known(connection: AsyncConnection, entries: Sequence[Entry]) -> dict[UUID, Accepted | RelaisError]:
    """What the journal says of the entries whose reference or key it has, by their ids; nothing is written."""
    firsts = await _firsts(connection, entries)
    return {each.id: _not_fresh(each, firsts[each.id]) for each in entries if any(firsts[each.id])}


Firsts = tuple[tuple[UUID, bytes] | None, tuple[UUID, bytes] | None]


async def _firsts(connection: AsyncConnection, entries: Sequence[Entry]) -> dict[UUID, Firsts]:
    """Under which id and digest each entry's reference was first accepted, and under which its key."""
    keys = {"pharmacy": [e.pharmacy for e in entries], "reference": [e.reference for e in entries]}
    by_reference = {row[0]: (row[1], row[2]) for row in await connection.execute(FIRST, keys)}
    by_key = {}
    if any(e.key for e in entries):
        keys = {"client": [e.client for e in entries], "key": [e.key or "" for e in entries]}
        by_key = {row[0]: (row[1], row[2]) for row in await connection.execute(FIRST_BY_KEY, keys)}
    return {e.id: (by_reference.get(number), by_key.get(number)) for number, e in enumerate(entries, 1)}


def _not_fresh(each: Entry, firsts: Firsts) -> Accepted | RelaisError:
    """A key stands for one order: another order under it is refused, even where that one was accepted before."""
    first, keyed = firsts
    if keyed is not None and keyed[1] != each.digest:
        return KeyReused(str(keyed[0]))
    if first is None:
        raise AssertionError("neither written nor known")
    if first[1] == each.digest:
        return Accepted(first[0], repeated=first[0] != each.id)
    return Conflict(str(first[0]))
