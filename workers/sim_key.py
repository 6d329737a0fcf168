"""The key with which the simulator of `relais up` signs, made once in the data directory, registered in the journal.

So that a trial shows what production should have: every receipt signed, and verified.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Final

from config.settings import Settings
from orders.access import receipt_keys
from orders.errors import NotSo
from orders.journal import connect
from workers.erp.keyfile import generate, read_private

FILE: Final = "erp-sim.key"


def key_file(data_dir: Path) -> Path:
    """Where the key of this data directory is."""
    return data_dir / FILE


async def trust_simulator(settings: Settings) -> None:
    """Make the key unless it is there, and register it with the backend unless it is registered."""
    file = key_file(settings.data_dir)
    if not file.exists():
        await asyncio.to_thread(generate, file)
    public = read_private(file).public_key().public_bytes_raw()
    engine = connect(settings.need("database_url"), pool=1)
    try:
        with suppress(NotSo):
            await receipt_keys.add(engine, settings.backend, public, None)
    finally:
        await engine.dispose()
