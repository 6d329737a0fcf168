"""Does every worker work? A canary to each, now, who has answered it, and who takes no orders all the same.

Silence is the worker's only where Redis took the canary and the journal can take the answer: else nothing is known.
"""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from workers.queue import registry
from workers.queue.app import create_app
from workers.queue.publisher import Publisher

POLL_PAUSE: Final = 0.05  # seconds between two looks for answers
NOW: Final = text("SELECT clock_timestamp() AS now, current_setting('transaction_read_only') = 'on' AS read_only")


class NotAsked(Exception):
    """The workers could not be asked, or could not have answered; the message says why."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One worker: whether it answered, after how many seconds, the age (s) of its last answer of all, and for how many
    seconds it has taken no orders though some wait, None while it does.
    """

    name: str
    host: str
    pid: int
    answered: bool
    seconds: float | None
    age: float
    deaf: float | None

    @property
    def works(self) -> bool:
        """It answers, and takes what there is."""
        return self.answered and self.deaf is None


async def check(engine: AsyncEngine, settings: Settings, *, here: bool, timeout: float) -> list[Heard]:
    """Ask every worker, or those of this host, and wait at most `timeout` seconds for the last to answer.

    Those that stop meanwhile are left out. Raises NotAsked, and what the journal raises when it is out of reach.
    """
    publisher = Publisher(await asyncio.to_thread(create_app, settings), settings)
    async with engine.connect() as connection:
        sent, read_only = (await connection.execute(NOW)).one()
    if read_only:
        raise NotAsked("the journal is read-only and takes no answers")
    deadline, again, asked = time.monotonic() + timeout, 0.0, None
    while True:
        rows = [row for row in await registry.workers_of(engine) if not here or row["host"] == socket.gethostname()]
        asked = asked or {row["name"] for row in rows}
        found = [_heard(row, sent) for row in rows if row["name"] in asked]
        silent = [each.name for each in found if not each.answered]
        if not silent or time.monotonic() > deadline:
            break
        if time.monotonic() >= again:  # and once more in a while: Redis may lose one
            await asyncio.to_thread(_send, publisher, silent, sent, registry.patience(settings))
            again = time.monotonic() + settings.worker.canary_every
        await asyncio.sleep(POLL_PAUSE)
    if silent and await asyncio.to_thread(publisher.depth) is None:
        raise NotAsked("Redis went out of reach")
    return found


def _send(publisher: Publisher, names: list[str], sent: datetime, lasts: float) -> None:
    for name in names:
        if not publisher.canary(name, sent, lasts):
            raise NotAsked("Redis is out of reach")


def _heard(row: dict[str, object], sent: datetime) -> Heard:
    heard, at = row["heard_at"], row["answered_at"]
    answered = isinstance(heard, datetime) and heard >= sent
    seconds = (at - sent).total_seconds() if answered and isinstance(at, datetime) else None
    deaf = (sent - row["deaf_since"]).total_seconds() if isinstance(row["deaf_since"], datetime) else None
    name, host, pid, age = str(row["name"]), str(row["host"]), int(str(row["pid"])), float(str(row["age"]))
    return Heard(name, host, pid, answered, seconds, age, deaf)
