"""The keys of a backend's receipts as one process knows them: read again every few seconds while receipts come.

So a rotation or a revocation needs no restart, and a receipt costs no round trip. While the journal is away the keys
last read stay known; what is settled with them then waits for the journal all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.journal import unreachable
from orders.schema.tables.trust import receipt_keys
from workers.erp.signing import Key

REFRESH: Final = 3.0  # seconds
IMPATIENCE: Final = 0.5  # seconds between two readings for keys that are not known


class ReceiptKeyCache:
    """One backend's keys. One instance per process and event loop."""

    def __init__(self, engine: AsyncEngine, backend: str) -> None:
        """Nothing is read yet."""
        self._engine, self._backend = engine, backend
        self._keys: Mapping[str, Key] | None = None
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def known(self, *, anew: bool = False) -> Mapping[str, Key] | None:
        """The keys as last read, REFRESH seconds ago at most, or IMPATIENCE with `anew`; None if they never were."""
        patience = IMPATIENCE if anew else REFRESH
        if time.monotonic() - self._read_at > patience:
            async with self._reading:
                if time.monotonic() - self._read_at > patience:
                    await self._read()
        return self._keys

    async def _read(self) -> None:
        self._read_at = time.monotonic()
        try:
            self._keys = await keys_of(self._engine, self._backend)
        except Exception as error:
            if not unreachable(error):
                raise


async def keys_of(engine: AsyncEngine, backend: str) -> dict[str, Key]:
    """Every key that a backend ever had, by its id: in force, ended or revoked."""
    query = select(receipt_keys).where(receipt_keys.c.backend == backend)
    async with engine.connect() as connection:
        return {row.key_id: _key(row) for row in await connection.execute(query)}


def _key(row: Row[Any]) -> Key:
    ends = [at for at in (row.expires_at, row.revoked_at) if at is not None]
    return Key(row.key_id, Ed25519PublicKey.from_public_bytes(row.public), min(ends, default=None))
