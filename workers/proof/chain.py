"""The chain, checked: every seal, its place, its block's content and its anchor; whatever is wrong is named by block.

A seal that is not to be believed says nothing of its rows, so they are not compared with it. Blocks are read some
20,000 rows at a time, in one snapshot, and in memory that does not grow with the journal.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.audit_codes import AuditCode
from orders.schema.tables.proof import SEALED, seals
from orders.sentences import Code, Sentence
from workers.proof.anchor_check import Anchored
from workers.proof.block_content import BELATED, FORMATS, Progress, contents, differences
from workers.proof.keys import Keys
from workers.proof.seal import ACKNOWLEDGED, FIRST, SEALS, Seal, believed
from workers.proof.verdict import AuditFault, Chain

PAGE: Final = 500  # seals read at a time
BATCH: Final = 20_000  # rows compared at a time, or one larger block
LATE: Final = timedelta(hours=1)  # a row of a block may be older than the block before by this much, no more

ASTRAY: Final = {
    table.name: text(
        f"SELECT (SELECT count(*) FROM {table.name} WHERE tx >= relais_tx_ceiling()), "
        f"(SELECT count(*) FROM {table.name} WHERE tx < 0 OR tx IS NULL), "
        f"(SELECT count(*) FROM {table.name} WHERE tx >= :sealed)"
    )
    for table in SEALED
}
NOW: Final = text("SELECT clock_timestamp(), relais_tx_ceiling()")


async def check_chain(
    connection: AsyncConnection, keys: Keys, anchored: Anchored | None, progress: Progress | None = None
) -> Chain:
    """Check everything that is sealed, and count what is not; `connection` is in one snapshot, REPEATABLE READ."""
    chain, lost = Chain(), list[AuditFault]()
    batch: list[tuple[Seal, datetime]] = []
    async for row in _seals(connection):
        chain.blocks += 1
        seal, before = _believed(row, keys, chain), chain.last
        if anchored is not None:
            anchored.compare(row.block, row.mac, chain, believed=seal is not None)
        if seal is None:
            continue
        lost = _placed(seal, before, chain, lost)
        earliest = min(before.sealed_at, seal.sealed_at) - LATE if before else datetime(1970, 1, 1, tzinfo=UTC)
        if batch and not _joins(seal, [each for each, _ in batch]):
            await _compare(connection, batch, chain, progress)
            batch = []
        batch.append((seal, earliest))
        chain.last, chain.rows = seal, chain.rows + seal.rows
    if batch:
        await _compare(connection, batch, chain, progress)
    chain.wrong += lost
    if anchored is not None:
        anchored.finish(chain)
    await _tail(connection, chain)
    return chain


def _joins(seal: Seal, batch: Sequence[Seal]) -> bool:
    """Whether a block can be read with those before it."""
    last = batch[-1]
    if (last.to_tx, last.format) != (seal.from_tx, seal.format):
        return False
    return sum(each.rows for each in batch) + seal.rows <= BATCH


async def _seals(connection: AsyncConnection) -> AsyncIterator[Any]:
    after = -(1 << 63)
    while rows := (await connection.execute(SEALS.where(seals.c.block > after).limit(PAGE))).all():
        after = rows[-1].block
        for row in rows:
            yield row


def _believed(row: Any, keys: Keys, chain: Chain) -> Seal | None:
    found = believed(row, keys)
    if isinstance(found, Seal) and found.format in FORMATS:
        return found
    chain.fault(row.block, found if isinstance(found, Sentence) else Sentence(AuditCode.NEWER_SEAL))
    return None


def _placed(seal: Seal, before: Seal | None, chain: Chain, lost: list[AuditFault]) -> list[AuditFault]:
    """Whether the seal follows the last one that is believed; returns the losses that nobody acknowledged so far."""
    if seal.why is not None and seal.why.startswith(ACKNOWLEDGED):
        word = {"why": seal.why, "block": seal.block}
        chain.remarks += [Sentence(AuditCode.ACKNOWLEDGED, fault=each.told(), **word) for each in lost]
        lost = []
    last, mac, end = (before.block, before.mac, before.to_tx) if before else (0, FIRST, 0)
    follows = seal.previous == mac and seal.from_tx == end
    if seal.block == last + 1:
        if not follows:
            chain.fault(seal.block, Sentence(AuditCode.DOES_NOT_FOLLOW))
    elif follows:  # sealing went on after a loss or past what is no seal of ours, and said so
        if _named(last + 1, seal.block - 1, chain):
            return lost
        return [*lost, AuditFault(last + 1, seal.block - 1, Sentence(AuditCode.LOST, why=seal.why))]
    else:
        _name_missing(last + 1, seal.block - 1, chain)
    return lost


def _name_missing(first: int, last: int, chain: Chain) -> None:
    """The blocks between two that are believed, but for those that are there and were named as altered."""
    if not _named(first, last, chain):
        chain.fault(first, Sentence(AuditCode.MISSING_BLOCKS), last)


def _named(first: int, last: int, chain: Chain) -> bool:
    """Whether each of these blocks is there and was named as altered."""
    spans = [(each.first, each.last) for each in chain.wrong if each.first is not None and each.last is not None]
    for one, other in sorted(spans):
        if one <= first:
            first = max(first, other + 1)
    return first > last


async def _compare(
    connection: AsyncConnection, batch: Sequence[tuple[Seal, datetime]], chain: Chain, progress: Progress | None
) -> None:
    bounds = [batch[0][0].from_tx, *(seal.to_tx for seal, _ in batch)]
    blocks_found = await contents(connection, bounds, progress, form=batch[0][0].format)
    for (seal, _), found in zip(batch, blocks_found, strict=True):
        for difference in differences(dict(seal.tables), found):
            chain.fault(seal.block, difference)
    blocks = [Sentence(AuditCode.BLOCK, block=seal.block) for seal, _ in batch]
    await _belated(connection, bounds, [earliest for _, earliest in batch], blocks, chain)


async def _belated(
    connection: AsyncConnection, bounds: list[int], earliest: list[datetime], blocks: list[Sentence], chain: Chain
) -> None:
    """Rows that say to be older than their block: PostgreSQL dates them itself, so somebody else wrote these."""
    values = {"bounds": bounds, "low": bounds[0], "high": bounds[-1], "earliest": earliest}
    for table, query in BELATED.items():
        for place, count in await connection.execute(query, values):
            what = Sentence(AuditCode.BACKDATED, count=count, table=table)
            chain.astray(Sentence(Code.BECAUSE, what=blocks[place - 1], why=what))


async def _tail(connection: AsyncConnection, chain: Chain) -> None:
    """What is not sealed yet, and what no block can ever hold."""
    now, ceiling = (await connection.execute(NOW)).one()
    sealed = chain.last.to_tx if chain.last else 0
    for table, query in ASTRAY.items():
        ahead, below, unsealed = (await connection.execute(query, {"sealed": sealed})).one()
        chain.unsealed += unsealed
        if ahead:
            chain.astray(Sentence(AuditCode.AHEAD, count=ahead, table=table))
        if below:
            chain.astray(Sentence(AuditCode.OF_NO_TRANSACTION, count=below, table=table))
    if chain.blocks == 0 and chain.unsealed:
        chain.remarks.append(Sentence(AuditCode.NOTHING_SEALED))
    elif chain.last is not None and ceiling > sealed:
        earliest = min(chain.last.sealed_at, now) - LATE
        await _belated(connection, [sealed, ceiling], [earliest], [Sentence(AuditCode.UNSEALED)], chain)
