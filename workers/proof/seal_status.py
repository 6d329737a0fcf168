"""How far the journal is sealed and the seals are anchored, for `relais status`: cheap on any journal."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.settings import Settings
from orders.journal import Source, reading_from
from orders.schema.tables.proof import SEALED, anchors, seals
from orders.sentences import Sentence

LAST: Final = select(seals).order_by(seals.c.block.desc()).limit(1)
MOST_ROWS: Final = 100_000  # rows of a table that are counted

UNSEALED: Final = text(
    "SELECT "
    + " + ".join(
        f"(SELECT count(*) FROM (SELECT FROM {table.name} WHERE tx >= :sealed LIMIT {MOST_ROWS}) AS t)"
        for table in SEALED
    )
)


async def sealing(source: Source, settings: Settings) -> dict[str, Any]:
    """The last block and when it was sealed, the rows since (counted up to MOST_ROWS of each table), every anchor.

    `key` says whether there is one here: whether this process could seal, and whether it verified the last seals:
    `doubt` is the newest of them that is not to be believed. Without a seal, `unsealed` is None.
    """
    async with reading_from(source) as connection:
        last, doubt = await _newest(connection, settings)
        found = (await connection.execute(select(anchors).order_by("place"))).mappings().all()
        unsealed = None
        if last is not None:
            unsealed = int((await connection.execute(UNSEALED, {"sealed": last.to_tx})).scalar_one())
    return {
        "key": settings.proof.key is not None,
        "block": last.block if last is not None else None,
        "sealed_at": last.sealed_at if last is not None else None,
        "unsealed": unsealed,
        "doubt": doubt,
        "anchors": [dict(row) for row in found],
    }


async def _newest(connection: AsyncConnection, settings: Settings) -> tuple[Any, Sentence | None]:
    """The last seal, as far as it can be verified here, and what is told of one that is not to be believed."""
    if settings.proof.key is None:
        return (await connection.execute(LAST)).one_or_none(), None
    from workers.proof.keys import keys_of  # with it come cryptography's primitives, which no other status needs
    from workers.proof.last_seal import last_seal, newest_doubt

    keys = keys_of(settings.proof.key)
    doubtful = await newest_doubt(connection, keys)
    return (await last_seal(connection, keys))[0], doubtful.told() if doubtful else None
