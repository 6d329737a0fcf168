"""Unspilling: what intake spilled while PostgreSQL was away goes into the journal, in order, once.

The leading dispatcher does it, before it dispatches anything, for a time at once: a spill that somebody floods stops no
dispatch. A record is dropped only after the journal has it, and only while it still is the oldest: whatever dies in
between, the next leader journals it again, which changes nothing. What is no new order is set aside with the reason,
never dropped; what another order has the place of is a dead letter. Of forged records, which may be orders signed with
a key that this worker does not have, the journal keeps so many; the others stay aside in Redis, where they were.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.errors import said
from orders.errors import Conflict, KeyReused, RelaisError
from orders.intake.entries import Entry, write
from orders.intake.routing import Routing
from orders.intake.settled import Settled, lost, settle, take_back
from orders.intake.spill import MOST_KEPT, Forged, SpillSigner, Unreadable, names, unseal, worth_keeping
from orders.intake.spilled import Cancellation, read_mark
from orders.intake.store import Store
from orders.journal import at_fault
from orders.journal.connection import SURE
from orders.refusals import NotDone
from orders.sentences import Sentence
from orders.states import AsideKind, State

log = logging.getLogger("relais.spill")

GROUP: Final = 100  # records; each may be a mebibyte
MOST_FORGED: Final = 10_000  # forged records that the journal keeps,
MOST_FORGED_BYTES: Final = 64 * 1024 * 1024  # and bytes of them

ASIDE = text("""
INSERT INTO asides (digest, kind, told, order_id, why, raw)
SELECT * FROM unnest(CAST(:digest AS bytea[]), CAST(:kind AS text[]), CAST(:told AS uuid[]),
  CAST(:order_id AS uuid[]), CAST(CAST(:why AS text[]) AS jsonb[]), CAST(:raw AS bytea[]))
ON CONFLICT DO NOTHING
""")


FORGED = text(f"SELECT count(*), coalesce(sum(octet_length(raw)), 0) FROM asides WHERE kind = '{AsideKind.FORGED}'")
DOUBTED = text(f"""
SELECT number, raw FROM asides WHERE kind <> '{AsideKind.REPEATED}' AND number > :after ORDER BY number LIMIT :most
""")


class Aside(NamedTuple):
    """A record that did not become an order, as the journal keeps it."""

    digest: bytes
    kind: str
    told: UUID | None
    order_id: UUID | None
    why: Sentence
    raw: bytes


class Read(NamedTuple):
    """An entry, its record, and who took it back."""

    entry: Entry
    raw: bytes
    cancellation: Cancellation | None = None


async def unspill(
    connection: AsyncConnection, store: Store, key: SpillSigner, route: Routing, seconds: float = math.inf
) -> int:
    """Journal the spill, as much as is begun within `seconds`; returns how many records left it. Raises SpillDown, and
    what the journal raises.
    """
    gone, until = 0, time.monotonic() + seconds
    while (not gone or time.monotonic() < until) and (records := await store.head(GROUP)):
        found, asides = read(records, key, route)
        beyond = await _beyond(connection, asides)
        asides = [each for each in asides if each.digest not in beyond]
        ids = [str(each.entry.id).encode() for each in found]
        marks = zip(found, await store.marks(ids), strict=True)
        marked = [each._replace(cancellation=read_mark(each.entry.id, mark, key)) for each, mark in marks]
        asides += await journal(connection, marked)
        await set_aside(connection, asides)
        await connection.execute(SURE)  # what was journalled before is nothing that journalling it again waits for
        kept = [place for place, raw in enumerate(records) if _digest(raw) in beyond] if beyond else []
        if not await store.drop(records, ids, [name for each in found for name in names(each.entry)], kept):
            break  # somebody else has dropped them: whoever leads now goes on
        gone += len(records)
    if gone:
        log.warning("unspilled", extra={"orders": gone})
    return gone


async def _beyond(connection: AsyncConnection, asides: Sequence[Aside]) -> set[bytes]:
    """The digests of the forged records that the journal has no room for."""
    forged = [each for each in asides if each.kind == AsideKind.FORGED]
    if not forged:
        return set()
    count, size = (await connection.execute(FORGED)).one()
    beyond = set()
    for each in forged:
        count, size = count + 1, size + len(each.raw)
        if count > MOST_FORGED or size > MOST_FORGED_BYTES:
            beyond.add(each.digest)
    if beyond:
        log.error("the journal keeps no more forged records, they stay in Redis", extra={"records": len(beyond)})
    return beyond


async def look_aside(
    connection: AsyncConnection, store: Store, key: SpillSigner, route: Routing, passed: int
) -> int | None:
    """Journal what of a group of those that stayed in Redis, behind `passed` of them, is an order by now; how many are
    to be passed then, None at the end.
    """
    records = await store.aside(passed, GROUP)
    found, _ = read(records, key, route)
    await set_aside(connection, await journal(connection, found))
    await connection.execute(SURE)
    for each in found:
        await store.take_aside(each.raw)
    return passed + len(records) - len(found) if records else None


async def readmit(connection: AsyncConnection, key: SpillSigner, route: Routing) -> int:
    """Journal what was set aside and is an order by now; returns how many of it are.

    For a worker that had been given another key than the intake. Doing it again changes nothing.
    """
    orders = after = 0
    while rows := (await connection.execute(DOUBTED, {"after": after, "most": GROUP})).all():
        after = rows[-1].number
        found, _ = read([bytes(row.raw) for row in rows], key, route)
        asides = await journal(connection, found)
        await set_aside(connection, asides)
        orders += len(found) - len(asides)
    return orders


def read(records: Sequence[bytes], key: SpillSigner, route: Routing) -> tuple[list[Read], list[Aside]]:
    """The entries of the records, each once, and what is none."""
    found: dict[UUID, Read] = {}
    asides: list[Aside] = []
    for raw in records:
        try:
            each = unseal(raw, key, route)
            found.setdefault(each.id, Read(each, raw))
        except Forged as error:
            asides.append(_aside(raw, AsideKind.FORGED, error.args[0])._replace(raw=worth_keeping(raw)))
        except Unreadable as error:
            asides.append(_aside(raw, AsideKind.UNREADABLE, error.args[0], error.told))
    return list(found.values()), asides


async def journal(connection: AsyncConnection, found: list[Read]) -> list[Aside]:
    """Journal entries; what is another order's repetition, or what the journal does not take, is returned.

    A group with a record that cannot be written is tried one by one: none may stand in the way of others. Raises
    whatever else keeps them out: it is not theirs, and they stay where they are.
    """
    if not found:
        return []
    try:
        return await _journal(connection, found)
    except Exception as error:
        if not at_fault(error):
            raise
        if len(found) == 1:
            why = Sentence(NotDone.NOT_WRITTEN, fault=type(said(error)).__name__)
            return [_aside(found[0].raw, AsideKind.UNREADABLE, why, found[0].entry.id)]
        return [aside for one in found for aside in await journal(connection, [one])]


async def _journal(connection: AsyncConnection, found: Sequence[Read]) -> list[Aside]:
    """What came first comes first into the journal; what has no place there is an order all the same."""
    live = [each for each in found if each.cancellation is None]
    back = [each for each in found if each.cancellation is not None]
    answers = await write(connection, [each.entry for each in live]) if live else []
    gone = [Settled(each.entry, State.CANCELLED, cancellation=each.cancellation) for each in back]
    answers += await settle(connection, gone)
    asides: list[Aside] = []
    losers: list[Settled] = []
    for each, answer in zip([*live, *back], answers, strict=True):
        if isinstance(answer, Conflict | KeyReused):
            losers.append(lost(each.entry, answer, each.cancellation))
        elif isinstance(answer, RelaisError):
            raise answer
        elif each.cancellation is not None:  # what was journalled before, under whichever id, is taken back there
            came = await take_back(connection, each.entry, answer.id, each.cancellation)
            if answer.repeated:
                losers.append(came)
            elif came.state is State.DEAD:
                log.error("an order was taken back too late", extra={"order": answer.id, "why": came.error})
        elif answer.repeated:
            asides.append(_aside(each.raw, AsideKind.REPEATED, Sentence(NotDone.REPEATED), each.entry.id, answer.id))
    await settle(connection, losers)
    if dead := sum(each.state is State.DEAD for each in losers):
        log.error("orders of the spill are dead letters: another order has their place", extra={"orders": dead})
    return asides


async def set_aside(connection: AsyncConnection, asides: Sequence[Aside]) -> None:
    """Keep what did not become an order; keeping it again changes nothing."""
    if not asides:
        return
    columns: dict[str, Any] = {name: [getattr(each, name) for each in asides] for name in Aside._fields}
    columns["why"] = [json.dumps(each.why.stored()) for each in asides]
    await connection.execute(ASIDE, columns)
    for kind, count in Counter(each.kind for each in asides).items():
        level = logging.INFO if kind == AsideKind.REPEATED else logging.ERROR
        log.log(level, "set aside", extra={"records": count, "kind": kind})


def _aside(raw: bytes, kind: str, why: Sentence, told: UUID | None = None, order_id: UUID | None = None) -> Aside:
    return Aside(_digest(raw), kind, told, order_id, why, raw[:MOST_KEPT])


def _digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()
