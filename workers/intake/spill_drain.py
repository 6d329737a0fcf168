"""Unspilling: what intake spilled while PostgreSQL was away goes into the journal, in order, once.

The leading dispatcher does it, before it dispatches anything. A record is dropped only after the journal has it, and
only while it still is the oldest: whatever dies in between, the next leader journals it again, which changes nothing.
What does not become an order is set aside with the reason, never dropped.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.errors import said
from orders.errors import Conflict, RelaisError
from orders.intake.entries import Accepted, Entry, write
from orders.intake.routing import Routing
from orders.intake.spill import MOST_KEPT, Forged, SpillSigner, Store, Unreadable, names, unseal
from orders.journal import at_fault
from orders.journal.connection import SURE

log = logging.getLogger("relais.spill")

GROUP: Final = 100  # records; each may be a mebibyte

ASIDE = text("""
INSERT INTO asides (digest, kind, told, order_id, why, raw)
SELECT * FROM unnest(CAST(:digest AS bytea[]), CAST(:kind AS text[]), CAST(:told AS uuid[]),
  CAST(:order_id AS uuid[]), CAST(:why AS text[]), CAST(:raw AS bytea[]))
ON CONFLICT DO NOTHING
""")


DOUBTED = text("""
SELECT number, raw FROM asides WHERE kind IN ('forged', 'unreadable') AND number > :after ORDER BY number LIMIT :most
""")


class Aside(NamedTuple):
    """A record that did not become an order, as the journal keeps it."""

    digest: bytes
    kind: str
    told: UUID | None
    order_id: UUID | None
    why: str
    raw: bytes


async def unspill(connection: AsyncConnection, store: Store, key: SpillSigner, route: Routing) -> int:
    """Journal the spill; returns how many records left it. Raises SpillDown, and what the journal raises."""
    gone = 0
    while records := await store.head(GROUP):
        entries, asides = read(records, key, route)
        asides += await journal(connection, entries)
        await set_aside(connection, asides)
        await connection.execute(SURE)  # what was journalled before is nothing that journalling it again waits for
        if not await store.drop(records, [name for each, _ in entries for name in names(each)]):
            break  # somebody else has dropped them: whoever leads now goes on
        gone += len(records)
    if gone:
        log.warning("unspilled", extra={"orders": gone})
    return gone


async def readmit(connection: AsyncConnection, key: SpillSigner, route: Routing) -> int:
    """Journal what was set aside as forged or unreadable and is neither now; returns how many of it are orders now.

    For a worker that had been given another key than the intake. Doing it again changes nothing.
    """
    orders = after = 0
    while rows := (await connection.execute(DOUBTED, {"after": after, "most": GROUP})).all():
        after = rows[-1].number
        entries, _ = read([bytes(row.raw) for row in rows], key, route)
        asides = await journal(connection, entries)
        await set_aside(connection, asides)
        orders += len(entries) - len(asides)
    return orders


def read(records: Sequence[bytes], key: SpillSigner, route: Routing) -> tuple[list[tuple[Entry, bytes]], list[Aside]]:
    """The entries of the records, each with its record and once, and what is none."""
    entries: dict[UUID, tuple[Entry, bytes]] = {}
    asides: list[Aside] = []
    for raw in records:
        try:
            each = unseal(raw, key, route)
            entries.setdefault(each.id, (each, raw))
        except (Forged, Unreadable) as error:
            asides.append(_aside(raw, type(error).__name__.lower(), str(error)))
    return list(entries.values()), asides


async def journal(connection: AsyncConnection, entries: list[tuple[Entry, bytes]]) -> list[Aside]:
    """Journal entries; those whose place another order has, or that the journal does not take, are returned.

    A group with a record that cannot be written is tried one by one: none may stand in the way of others. Raises
    whatever else keeps them out: it is not theirs, and they stay where they are.
    """
    if not entries:
        return []
    try:
        answers = await write(connection, [each for each, _ in entries])
    except Exception as error:
        if not at_fault(error):
            raise
        if len(entries) == 1:
            return [_aside(entries[0][1], "unreadable", f"the journal cannot write it: {type(said(error)).__name__}")]
        return [aside for one in entries for aside in await journal(connection, [one])]
    found = [_displaced(each, raw, answer) for (each, raw), answer in zip(entries, answers, strict=True)]
    return [aside for aside in found if aside is not None]


async def set_aside(connection: AsyncConnection, asides: Sequence[Aside]) -> None:
    """Keep what did not become an order; keeping it again changes nothing."""
    if not asides:
        return
    columns: dict[str, Any] = {name: [getattr(each, name) for each in asides] for name in Aside._fields}
    await connection.execute(ASIDE, columns)
    for kind, count in Counter(each.kind for each in asides).items():
        level = logging.INFO if kind == "repeated" else logging.ERROR
        log.log(level, "set aside", extra={"records": count, "kind": kind})


def _displaced(each: Entry, raw: bytes, answer: Accepted | RelaisError) -> Aside | None:
    """The order itself, written now or before, is no aside; the same order under another id is, to be found by it."""
    if isinstance(answer, Accepted):
        if not answer.repeated:
            return None
        return _aside(raw, "repeated", "the same order was accepted before", each.id, answer.id)
    first = UUID(answer.first) if hasattr(answer, "first") else None
    kind = "conflict" if isinstance(answer, Conflict) else "reused"
    return _aside(raw, kind, str(answer), each.id, first)


def _aside(raw: bytes, kind: str, why: str, told: UUID | None = None, order_id: UUID | None = None) -> Aside:
    return Aside(hashlib.sha256(raw).digest(), kind, told, order_id, why, raw[:MOST_KEPT])
