"""Before a reconciliation asks anything: whoever was settling as its span ended has to be through.

A receipt bears the time at which it is written and is seen once its transaction commits. One that was written before
the end of the span and committed after its page was read would be passed by. Whoever writes a receipt has locked
`deliveries` before, so that it is among those that hold that lock as the span has ended.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.errors import RelaisError
from orders.refusals import NotDone
from orders.sentences import Sentence

SETTLING: Final = 60.0  # seconds, longer than the statements of a settling may take
LOOK: Final = 0.05  # seconds between two looks

WRITERS: Final = text("""
SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND relation = CAST('deliveries' AS regclass)
  AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid()
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


class Unsettled(RelaisError):
    """A transaction that may hold receipts of the span does not end."""


async def await_settling(connection: AsyncConnection) -> None:
    """Returns once all that was being settled when it was called is committed or gone. Raises Unsettled."""
    deadline = time.monotonic() + SETTLING
    left = await _writers(connection)
    while left:
        if time.monotonic() > deadline:
            raise Unsettled(Sentence(NotDone.UNSETTLED, seconds=SETTLING))
        await asyncio.sleep(LOOK)
        left &= await _writers(connection)


async def _writers(connection: AsyncConnection) -> set[str]:
    return {row[0] for row in await connection.execute(WRITERS)}
