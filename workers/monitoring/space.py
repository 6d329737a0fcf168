"""What takes space, and how much is left: disks, the journal's tables, Redis' memory.

For the person whom the disk alert has woken: it answers without either store, and names what is nearly full. What is
sealed is never deleted; what this shows says how large the next disk must be.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from redis import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.errors import first_line
from config.redis_keys import SPILL_RECORDS
from config.settings import Settings
from orders.journal import unreachable
from workers.queue import inspect

DISK_LEFT: Final = 0.10  # share of a disk below which it is nearly full
MEMORY_USED: Final = 0.60  # share of Redis' memory above which it is nearly full

TABLES: Final = text("""
SELECT c.relname AS name, greatest(c.reltuples, 0)::bigint AS rows, pg_total_relation_size(c.oid) AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = current_schema() ORDER BY bytes DESC, name
""")
DATABASE: Final = text("SELECT pg_database_size(current_database())")


async def space(engine: AsyncEngine, settings: Settings, paths: Sequence[Path]) -> dict[str, Any]:
    """All of it, in bytes; `full` names in words what is nearly so. Rows are the planner's estimate.

    A store that is away is told in `error`. Raises OSError for a path that is none.
    """
    disks, journal, queue = [_disk(path) for path in paths], await _journal(engine), _redis(settings)
    full = [f"the disk of {each['path']} has {each['free'] / each['size']:.0%} left" for each in disks if each["full"]]
    if queue["full"]:
        full.append(f"Redis uses {queue['used'] / queue['most']:.0%} of its memory")
    return {"disks": disks, "journal": journal, "redis": queue, "full": full}


def _disk(path: Path) -> dict[str, Any]:
    """As an account that is not root sees it: what only root may fill is not left."""
    found = os.statvfs(path)
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return {"path": str(path), "size": size, "free": free, "full": free < DISK_LEFT * size}


async def _journal(engine: AsyncEngine) -> dict[str, Any]:
    try:
        async with engine.connect() as connection:
            size = (await connection.execute(DATABASE)).scalar_one()
            tables = [dict(row) for row in (await connection.execute(TABLES)).mappings()]
    except Exception as error:
        if not unreachable(error):
            raise
        return {"error": first_line(error), "bytes": None, "tables": []}
    return {"error": None, "bytes": int(size), "tables": tables}


def _redis(settings: Settings) -> dict[str, Any]:
    """Memory, the most that it may use (None: no limit), its append-only file, and what waits in it."""
    try:
        with inspect.redis_of(settings) as redis:
            return {"error": None, **_figures(redis, settings)}
    except inspect.RedisAway as error:
        unknown = dict.fromkeys(("used", "most", "file", "messages", "spilled"))
        return {"error": str(error), **unknown, "full": False}


def _figures(redis: Redis, settings: Settings) -> dict[str, Any]:
    memory, persistence = redis.info("memory"), redis.info("persistence")
    used, most = int(memory["used_memory"]), int(memory["maxmemory"]) or None
    return {
        "used": used,
        "most": most,
        "file": persistence.get("aof_current_size"),
        "messages": sum(int(redis.llen(each)) for each in inspect.queues(settings)),
        "spilled": int(redis.llen(SPILL_RECORDS)),
        "full": most is not None and used > MEMORY_USED * most,
    }
