"""What the server's own settings weaken of a promise: told at start, on the status, in the metrics and the console.

Asynchronous commits are none of it: what Relais answers for is on disk all the same (`orders.schema.triggers`), which
is said, for somebody set them. Of standbys a login without rights sees no more than that they are there.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.sentences import Code, Sentence

WEAK: Final = (Code.FSYNC_OFF, Code.FULL_PAGE_WRITES_OFF, Code.COMMIT_OFF, Code.COMMIT_AHEAD, Code.STANDBY_BEHIND)

# A walsender of a physical standby: neither of a base backup, where that is seen, nor of a logical slot.
READ: Final = text("""
SELECT current_setting('fsync') = 'off' AS fsync_off, current_setting('full_page_writes') = 'off' AS pages_off,
  current_setting('synchronous_commit') AS mode, current_setting('synchronous_standby_names') <> '' AS awaited,
  EXISTS (SELECT FROM pg_stat_replication r WHERE r.state IS DISTINCT FROM 'backup' AND NOT EXISTS (
    SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')) AS standby
""")


async def weaknesses(connection: AsyncConnection) -> list[Sentence]:
    """What is weak now, for this login, the worst first; none is how it should be. Raises what the journal raises."""
    row = (await connection.execute(READ)).one()
    found = {
        Code.FSYNC_OFF: row.fsync_off,
        Code.FULL_PAGE_WRITES_OFF: row.pages_off,
        Code.COMMIT_OFF: row.mode == "off",
        Code.COMMIT_AHEAD: row.awaited and row.mode in ("local", "remote_write"),
        Code.STANDBY_BEHIND: row.standby and not row.awaited,
    }
    return [Sentence(code, mode=row.mode) for code in WEAK if found[code]]
