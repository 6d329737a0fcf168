"""The newest seal that is to be believed, and what stands before it in the table that is not.

Whoever may write to the journal may put a row among the seals, but no mac of ours under it. Such a row is passed over
and told: it decides neither where the next block begins nor which number it gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.audit_codes import AuditCode
from orders.schema.tables.proof import seals
from orders.sentences import Code, Sentence
from workers.proof.keys import Keys
from workers.proof.seal import Seal, believed

LOOKED_AT: Final = 60  # seals that are read at a time, newest first
NEWEST: Final = select(seals).order_by(seals.c.block.desc()).limit(LOOKED_AT)
TAKEN: Final = text(f"""
SELECT s.block FROM (SELECT 0 AS block UNION ALL SELECT block FROM seals) s
WHERE s.block >= :block AND s.block < {(1 << 63) - 1}
  AND NOT EXISTS (SELECT FROM seals n WHERE n.block = s.block + 1) ORDER BY s.block LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A row among the seals that is not to be believed."""

    block: int
    key_id: str
    sealed_at: datetime
    why: Sentence

    def told(self) -> Sentence:
        """`block 3: the seal itself was altered`."""
        return Sentence(Code.BECAUSE, what=Sentence(AuditCode.BLOCK, block=self.block), why=self.why)


async def last_seal(connection: AsyncConnection, keys: Keys) -> tuple[Seal | None, Doubtful | None]:
    """The newest seal that is to be believed, and the newest row beyond it that is not."""
    newest, rows = None, (await connection.execute(NEWEST)).all()
    while rows:
        for row in rows:
            seal, doubtful = _judged(row, keys)
            if seal is not None:
                return seal, newest
            newest = newest or doubtful
        rows = (await connection.execute(NEWEST.where(seals.c.block < rows[-1].block))).all()
    return None, newest


async def newest_doubt(connection: AsyncConnection, keys: Keys) -> Doubtful | None:
    """The newest of the last LOOKED_AT seals that is not to be believed."""
    found = (_judged(row, keys)[1] for row in (await connection.execute(NEWEST)).all())
    return next((each for each in found if each is not None), None)


async def taken_from(connection: AsyncConnection, block: int) -> int:
    """The last number of the row of blocks, without a gap, that begins with `block`."""
    return int((await connection.execute(TAKEN, {"block": block})).scalar() or block)


def believable(rows: Sequence[Any], keys: Keys) -> list[Seal]:
    """The seals in rows, without what is none of ours."""
    return [seal for seal, _ in (_judged(row, keys) for row in rows) if seal is not None]


def _judged(row: Any, keys: Keys) -> tuple[Seal | None, Doubtful | None]:
    seal = believed(row, keys)
    if isinstance(seal, Seal):
        return seal, None
    return None, Doubtful(row.block, row.key_id, row.sealed_at, seal)
