"""The key by which the simulator of this data directory signs its receipts, registered with its backend."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from config.settings import Settings
from orders.access import receipt_keys
from orders.errors import NotSo
from orders.journal import connect
from orders.sentences import Code, Sentence
from workers.erp.keyfile import generate, read_private
from workers.operations import record

ERP_KEY: Final = "erp-sim.key"  # signs what the simulator answers


def key_file(data_dir: Path) -> Path:
    """Where the key of this data directory is."""
    return data_dir / ERP_KEY


async def trust_simulator(settings: Settings) -> None:
    """Make the key unless it is there, and register it with the backend unless it is registered."""
    file = key_file(settings.files.data_dir)
    if not file.exists():
        await asyncio.to_thread(generate, file)
    public = read_private(file).public_key().public_bytes_raw()
    engine = connect(settings.need("database_url"), pool=1)
    try:
        with suppress(NotSo):
            key = {"backend": settings.erp.backend, "key": receipt_keys.fingerprint(public)}
            detail = {**key, "why": Sentence(Code.OF_SIMULATOR)}
            also = partial(record, act="key add", reason=None, detail=detail)
            await receipt_keys.add(engine, settings.erp.backend, public, None, also)
    finally:
        await engine.dispose()
