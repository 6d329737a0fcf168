"""The lead: an advisory lock of the journal that one dispatcher holds."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from orders.journal import Source, reading_from

LEADER_LOCK: Final = 0x52454C42

LEADER: Final = text("""
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = :key AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


async def leader(source: Source) -> bool:
    """True when some worker's dispatcher holds the lead."""
    async with reading_from(source) as connection:
        return (await connection.execute(LEADER, {"key": LEADER_LOCK})).first() is not None
