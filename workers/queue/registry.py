"""Who works, and how long ago each answered: the statements about the journal's table `workers`.

A canary is a message through Redis to one worker, which a process of its pool answers here, as it would settle an
order. All times are the journal's, so that no two clocks are compared.
"""

from __future__ import annotations

import socket
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from config.settings.routes_file import longest_batch
from orders.journal import Source, reading_from

GONE: Final = 600.0  # seconds after which a worker that nothing is heard of has gone

AGE: Final = "greatest(0, extract(epoch FROM now() - coalesce(answered_at, started_at))::float8)"

HOSTS: Final = text(f"SELECT host, count(*) AS workers, max({AGE}) AS age FROM workers GROUP BY host ORDER BY host")
WORKERS: Final = text(
    f"SELECT name, host, pid, started_at, answered_at, heard_at, {AGE} AS age FROM workers ORDER BY host, pid"
)
REGISTER: Final = text("""
INSERT INTO workers (name, host, pid) VALUES (:name, :host, :pid) ON CONFLICT (name)
DO UPDATE SET pid = excluded.pid, started_at = now(), asked_at = now(), answered_at = NULL, heard_at = NULL
""")
KEEP: Final = text("""
INSERT INTO workers (name, host, pid) VALUES (:name, :host, :pid) ON CONFLICT (name)
DO UPDATE SET asked_at = clock_timestamp() RETURNING asked_at, heard_at
""")
ASK: Final = text("UPDATE workers SET asked_at = clock_timestamp() WHERE name = :name RETURNING asked_at, heard_at")
ANSWER: Final = text("""
UPDATE workers SET answered_at = clock_timestamp(),
  heard_at = least(greatest(heard_at, CAST(:sent AS timestamptz)), clock_timestamp())
WHERE name = :name
""")
FORGET: Final = text("DELETE FROM workers WHERE name = :name")
NEIGHBOURS: Final = text("SELECT name, pid FROM workers WHERE host = :host AND name <> :name")
PURGE: Final = text("""
DELETE FROM workers WHERE greatest(asked_at, answered_at) < clock_timestamp() - make_interval(secs => :gone)
""")


def patience(settings: Settings) -> float:
    """Seconds of silence that a busy worker may need. Raises BadBackends.

    Every process of its pool may be at a batch that takes as long as it may, with another one behind it and the
    canary last; and three canaries may be lost.
    """
    return 2 * longest_batch(settings) + 3 * settings.worker.canary_every


def node(pid: int) -> str:
    """Celery's name of the worker on this host whose main process is `pid`."""
    return f"relais-{pid}@{socket.gethostname()}"


async def liveness(connection: AsyncConnection) -> list[dict[str, Any]]:
    """Of each host: `host`, its number of `workers`, and the `age` (s) of the answer of the most silent of them."""
    return [dict(row) for row in (await connection.execute(HOSTS)).mappings()]


async def workers_of(source: Source) -> list[dict[str, Any]]:
    """Every worker: its row, and the `age` (s) of its last answer, or of itself before the first."""
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(WORKERS)).mappings()]


async def register(connection: AsyncConnection, pid: int) -> None:
    """Enter a worker of this host that starts, and remove those of the host that are dead."""
    host, name = socket.gethostname(), node(pid)
    for row in (await connection.execute(NEIGHBOURS, {"host": host, "name": name})).all():
        if not _runs(row.pid):
            await forget(connection, row.name)
    await connection.execute(REGISTER, {"name": name, "host": host, "pid": pid})


def _runs(pid: int) -> bool:
    """Whether there is such a process; one that is dead and that nobody has waited for is none."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def keep(connection: AsyncConnection, pid: int) -> Row[Any]:
    """Say that this worker is there: `asked_at`, now, and `heard_at`. It enters itself again where it was removed."""
    values = {"name": node(pid), "host": socket.gethostname(), "pid": pid}
    return (await connection.execute(KEEP, values)).one()


async def ask(connection: AsyncConnection, pid: int) -> Row[Any] | None:
    """What `keep` says, for who watches the worker; None where it has not entered itself."""
    return (await connection.execute(ASK, {"name": node(pid)})).one_or_none()


async def answer(engine: AsyncEngine, name: str, sent: datetime) -> None:
    """The worker called `name` answers a canary of that time."""
    async with engine.connect() as connection:
        await connection.execute(ANSWER, {"name": name, "sent": sent})


async def forget(connection: AsyncConnection, name: str) -> None:
    """Remove a worker that stops, or is dead."""
    await connection.execute(FORGET, {"name": name})


async def purge(connection: AsyncConnection) -> None:
    """Remove those that nothing has been heard of for `GONE` seconds."""
    await connection.execute(PURGE, {"gone": GONE})
