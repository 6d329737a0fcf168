"""Sealing: close the next block, write its seal in the transaction that read it, then write it to the anchor.

A block ends where the oldest transaction that still runs begins (`relais_tx_floor()`): all before are over, so what
the block holds can never change honestly. One process at a time seals, under an advisory lock; should it lose that
with its connection, the block's number is taken once. Whatever dies in between, the next sealing goes on from what is
there; it never follows a seal whose mac it cannot verify.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.audit_codes import AuditCode
from orders.journal import transactional
from orders.journal.connection import SURE
from orders.schema.epochs import SPAN
from orders.schema.tables.proof import seals
from workers.operations import operator, record
from workers.proof.anchor import AnchorDown, Place
from workers.proof.block_content import contents
from workers.proof.keys import Keys
from workers.proof.last_seal import Doubtful, believable, last_seal, taken_from
from workers.proof.seal import ACKNOWLEDGED, FIRST, INSERT, SEALS, Seal, signed

log = logging.getLogger("relais.seal")

SEAL_LOCK: Final = 0x52454C53  # with a 0 beside it: of two numbers, so that who seals need not be able to lead
FROZEN: Final = "60s"  # of silence in a transaction, after which PostgreSQL ends it
GONE: Final = "10min"  # of silence, after which PostgreSQL takes the lock back
SEALS_AT_ONCE: Final = 500  # seals written to an anchor at a time
UNKNOWN_KEY_WAIT: Final = timedelta(hours=1)  # for a seal of a key that is not set here and may be a newer one
HIGHEST: Final = 1 << 52  # block that an anchor is said to have: a table's word must not use up the numbers

FLOOR: Final = text("SELECT relais_tx_floor(), relais_tx_ceiling(), clock_timestamp()")
REMEMBERED: Final = text("SELECT block FROM anchors WHERE place = :place")
REMEMBER: Final = text("""
INSERT INTO anchors (place, block, written_at, error)
VALUES (:place, :block, CASE WHEN CAST(:error AS text) IS NULL THEN now() END, CAST(:error AS text))
ON CONFLICT (place) DO UPDATE SET block = excluded.block, error = excluded.error,
  written_at = coalesce(excluded.written_at, anchors.written_at)
""")


class CannotSeal(Exception):
    """The journal was restored and `relais admin migrate` not run, or the last seal may be of a newer key."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a sealing did: the new block, or None when there was nothing to seal; the last one at the anchor, or why
    the anchor could not be written.
    """

    seal: Seal | None
    anchored: int | None = None
    error: str | None = None


async def seal_now(
    engine: AsyncEngine, keys: Keys, place: Place | None, *, why: str | None = None, wait: bool = True
) -> Sealed | None:
    """Seal what is over and write the anchor; None when somebody else is sealing and we do not `wait`.

    `why` is an operator's word on a break in the chain; it seals a block even where nothing is new. `engine` has room
    for two connections. Raises CannotSeal, and what the journal raises.
    """
    async with _alone(engine, wait) as lock:
        if lock is None:
            return None
        last, error = 0, None
        if place is not None:
            last = min((await lock.execute(REMEMBERED, {"place": place.name})).scalar() or 0, HIGHEST)
            try:
                last = await asyncio.to_thread(place.last, last)
            except AnchorDown as down:
                error = str(down)
        made = await _seal(engine, keys, last, why)
        if place is None:
            return Sealed(made)
        if error is None:
            last, error = await _anchor(lock, place, keys, last)
        await lock.execute(REMEMBER, {"place": place.name, "block": last, "error": error})
        return Sealed(made, last, error)


async def acknowledged(engine: AsyncEngine, why: str) -> str:
    """An operator's word on a loss, recorded, as it is to stand in a seal."""
    async with transactional(engine).begin() as connection:
        await record(connection, "acknowledge", why, {})
    return f"{ACKNOWLEDGED}{operator()}: {why}"


@asynccontextmanager
async def _alone(engine: AsyncEngine, wait: bool) -> AsyncIterator[AsyncConnection | None]:
    """A connection that holds the lock, taken before any snapshot; None when somebody else holds it."""
    async with engine.connect() as lock:
        await lock.execute(text(f"SET idle_session_timeout = '{GONE}'"))
        take = "SELECT true FROM pg_advisory_lock(:key, 0)" if wait else "SELECT pg_try_advisory_lock(:key, 0)"
        if not (await lock.execute(text(take), {"key": SEAL_LOCK})).scalar_one():
            yield None
            return
        try:
            yield lock
        finally:
            await lock.execute(text("SELECT pg_advisory_unlock(:key, 0)"), {"key": SEAL_LOCK})


async def _seal(engine: AsyncEngine, keys: Keys, anchored: int, why: str | None) -> Seal | None:
    """Close the block after the last one, in one transaction and one snapshot."""
    async with transactional(engine).begin() as connection:
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        await connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{FROZEN}'"))
        floor, ceiling, now = (await connection.execute(FLOOR)).one()
        before, doubtful = await last_seal(connection, keys)
        if doubtful is not None:
            _pass_over(doubtful, now)
        block, start, previous = (before.block, before.to_tx, before.mac) if before else (0, 0, FIRST)
        if start > ceiling:
            raise CannotSeal("the journal was restored into another PostgreSQL: run `relais admin migrate`")
        end = max(start, floor)
        (found,) = await contents(connection, [start, end]) if end > start else ({},)
        if why is None and not any(content.rows for content in found.values()):
            return None
        if doubtful is not None:
            block, why = await taken_from(connection, block), why or f"passed over {doubtful.told()}"
        if anchored > block:
            gap = f"the anchor has blocks up to {anchored}, the journal up to {block}"
            why, block = f"{gap}: {why}" if why else gap, anchored
            log.error("the chain was cut off or restored", extra={"why": gap})
        key = next(iter(keys.values()))
        made = signed(Seal(block + 1, end // SPAN, start, end, found, now, why, previous, key.id), key)
        await connection.execute(INSERT, made.values())
        return made


def _pass_over(doubtful: Doubtful, now: datetime) -> None:
    """Tell of a seal that is not to be followed. Raises CannotSeal where nobody can say yet whose it is."""
    if doubtful.why.code is AuditCode.UNKNOWN_SEAL_KEY and timedelta(0) <= now - doubtful.sealed_at < UNKNOWN_KEY_WAIT:
        raise CannotSeal(f"{doubtful.told()}: it is passed over when it is an hour old")
    log.error("a seal is none of ours and was passed over", extra={"why": doubtful.told()})


async def _anchor(connection: AsyncConnection, place: Place, keys: Keys, last: int) -> tuple[int, str | None]:
    """Write what the anchor does not have yet: the last block that is there then, and why no newer one is."""
    seen = last
    while rows := (await connection.execute(SEALS.where(seals.c.block > seen).limit(SEALS_AT_ONCE))).all():
        seen = rows[-1].block
        if not (missing := believable(rows, keys)):
            continue
        await connection.execute(SURE)  # an anchor must not remember what a standby has never had
        try:
            await asyncio.to_thread(place.append, missing)
        except AnchorDown as down:
            return last, str(down)
        last = missing[-1].block
    return last, None
