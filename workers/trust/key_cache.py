"""The keys of a backend's receipts as one process knows them: read again every few seconds while receipts come.

So a rotation or a revocation needs no restart, and a receipt costs no round trip. With them comes what time it is.
While the journal is away the keys last read stay known; what is settled with them then waits for the journal all the
same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.access.last_read import LastRead
from orders.schema.tables.trust import receipt_keys
from workers.erp import steady_clock
from workers.erp.signing import Key

REFRESH: Final = 3.0  # seconds
NOW: Final = text("SELECT clock_timestamp()")
IMPATIENCE: Final = 0.1  # seconds between two readings for keys, and a time, that do not fit


class ReceiptKeyCache:
    """One backend's keys. One instance per process and event loop."""

    def __init__(self, engine: AsyncEngine, backend: str) -> None:
        """Nothing is read yet."""
        self._engine, self._backend = engine, backend
        self._ahead = timedelta()  # the journal's clock of ours
        self._keys: LastRead[Mapping[str, Key] | None] = LastRead(self._read, None)

    async def known(self, *, anew: bool = False) -> Mapping[str, Key] | None:
        """The keys as last read, REFRESH seconds ago at most, or IMPATIENCE with `anew`; None if they never were."""
        return await self._keys.within(IMPATIENCE if anew else REFRESH)

    def now(self) -> datetime:
        """What time it is by the journal's clock, as of when keys were read last."""
        return steady_clock.now() + self._ahead

    async def _read(self) -> Mapping[str, Key] | None:
        async with self._engine.connect() as connection:
            journal: datetime = (await connection.execute(NOW)).scalar_one()
        self._ahead = journal - steady_clock.now()
        return await keys_of(self._engine, self._backend)


async def keys_of(engine: AsyncEngine, backend: str) -> dict[str, Key]:
    """Every key that a backend ever had, by its id: in force, ended or revoked."""
    query = select(receipt_keys).where(receipt_keys.c.backend == backend)
    async with engine.connect() as connection:
        found = {row.key_id: _key(row) for row in await connection.execute(query)}
    return {key_id: key for key_id, key in found.items() if key is not None}


def _key(row: Row[Any]) -> Key | None:
    """None for what is no key, which no `relais key add` wrote: the audit names it."""
    ends = [at for at in (row.expires_at, row.revoked_at) if at is not None]
    try:
        return Key(row.key_id, Ed25519PublicKey.from_public_bytes(row.public), min(ends, default=None))
    except ValueError:
        return None
