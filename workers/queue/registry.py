"""Who works, and how long ago each answered: the statements about the journal's table `workers`.

A canary is a message through Redis to one worker, which a process of its pool answers here, as it would settle an
order. A worker that answers and takes no orders, though some wait, says so here itself. All times are the journal's, so
that no two clocks are compared.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from config.settings.routes_file import longest_batch
from orders.journal import Source, reading_from
from orders.states import State

GONE: Final = 600.0  # seconds after which a worker that nothing is heard of has gone

AGE: Final = "greatest(0, extract(epoch FROM now() - coalesce(answered_at, started_at))::float8)"


HOSTS: Final = text(f"""
SELECT host, count(*) AS workers, max({AGE}) AS age, count(deaf_since) AS deaf FROM workers
GROUP BY host ORDER BY host
""")
WORKERS: Final = text(f"""
SELECT name, host, pid, started_at, answered_at, heard_at, deaf_since, {AGE} AS age FROM workers ORDER BY host, pid
""")
REGISTER: Final = text("""
INSERT INTO workers (name, host, pid, born) VALUES (:name, :host, :pid, :born) ON CONFLICT (name)
DO UPDATE SET pid = excluded.pid, born = excluded.born, started_at = now(), asked_at = now(), answered_at = NULL,
  heard_at = NULL, worked_at = NULL, deaf_since = NULL
""")
KEEP: Final = text(f"""
INSERT INTO workers (name, host, pid, born) VALUES (:name, :host, :pid, :born) ON CONFLICT (name)
DO UPDATE SET asked_at = clock_timestamp() RETURNING asked_at, heard_at, worked_at, deaf_since IS NOT NULL AS deaf,
  EXISTS (SELECT FROM deliveries
    WHERE state = '{State.DISPATCHED}' AND backend = ANY(CAST(:backends AS text[]))) AS waiting
""")
ASK: Final = text("""
UPDATE workers SET asked_at = clock_timestamp() WHERE name = :name
RETURNING asked_at, heard_at, deaf_since IS NOT NULL AS deaf
""")
TELL_DEAF: Final = text("""
UPDATE workers SET deaf_since = CASE WHEN :deaf
  THEN coalesce(deaf_since, clock_timestamp() - make_interval(secs => :seconds)) END
WHERE name = :name
""")
WORKED: Final = "UPDATE workers SET worked_at = clock_timestamp() WHERE name = $1"
ANSWER: Final = text("""
UPDATE workers SET answered_at = clock_timestamp(),
  heard_at = least(greatest(heard_at, CAST(:sent AS timestamptz)), clock_timestamp())
WHERE name = :name
""")
FORGET: Final = text("DELETE FROM workers WHERE name = :name")
NEIGHBOURS: Final = text("SELECT name, pid, born FROM workers WHERE host = :host AND name <> :name")
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
    """Of each host: `host`, its number of `workers`, the `age` (s) of the answer of the most silent of them, and how
    many are `deaf`: they take no orders though some wait.
    """
    return [dict(row) for row in (await connection.execute(HOSTS)).mappings()]


async def workers_of(source: Source) -> list[dict[str, Any]]:
    """Every worker: its row, and the `age` (s) of its last answer, or of itself before the first."""
    async with reading_from(source) as connection:
        return [dict(row) for row in (await connection.execute(WORKERS)).mappings()]


async def register(connection: AsyncConnection, pid: int) -> None:
    """Enter a worker of this host that starts, and remove those of the host that are dead."""
    from workers.trust.processes import runs  # psutil, which `relais status` does without

    host, name = socket.gethostname(), node(pid)
    for row in (await connection.execute(NEIGHBOURS, {"host": host, "name": name})).all():
        if not runs(row.pid, row.born):
            await forget(connection, row.name)
    await connection.execute(REGISTER, _itself(pid))


def _itself(pid: int) -> dict[str, Any]:
    from config.embedded.marks import birth

    return {"name": node(pid), "host": socket.gethostname(), "pid": pid, "born": birth(pid)}


async def keep(connection: AsyncConnection, pid: int, backends: Sequence[str]) -> Row[Any]:
    """Say that this worker is there: `asked_at`, now, `heard_at`, `worked_at`, and whether orders of these backends
    are `waiting` in the queues. It enters itself again where it was removed.
    """
    return (await connection.execute(KEEP, _itself(pid) | {"backends": list(backends)})).one()


async def tell_deaf(connection: AsyncConnection, pid: int, seconds: float | None) -> None:
    """Say that this worker has taken no orders for so long, though some wait; None once it does, or none wait."""
    values = {"name": node(pid), "deaf": seconds is not None, "seconds": seconds or 0.0}
    await connection.execute(TELL_DEAF, values)


async def ask(connection: AsyncConnection, pid: int) -> Row[Any] | None:
    """`asked_at`, now, `heard_at` and whether it says that it is `deaf`, for who watches the worker; None where it has
    not entered itself.
    """
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
