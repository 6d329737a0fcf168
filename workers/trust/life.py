"""A process's life as the journal sees it: a number, and an advisory lock that PostgreSQL frees when its session ends.

Every claim bears the number of the process that made it, in the first four bytes of its lease, so that the leader
takes back what a dead process holds without waiting for the lease (`workers.dispatch.deaths`). A free lock alone is no
death: a wire that was cut frees it too, and what was being sent may still arrive. Hence:

- On the leader's machine a process is dead when its lock is free and the kernel says that it does not run. It can
  send nothing more. One that runs keeps its claims, under their lease, and takes its lock again.
- On another machine it counts as dead once its lock has been free for LOST seconds. It has sent nothing new since HELD
  seconds after it last heard from its session, by its own clock, and LOST is longer. What was on its way then ends
  within the ERP's time-out, which an order waits for where the ERP does not honour the idempotency key.
- Whom the leader declares dead loses number and lock in one. A process that wakes, or comes back, and finds that
  ends: so nothing that it still has in hand is sent beside the one who has it now.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn
from uuid import UUID

import asyncpg

from config.embedded.marks import birth
from orders.ending import ended
from orders.journal.hosts import reach
from workers.trust.processes import machine

log = logging.getLogger("relais.life")

LIFE_LOCK: Final = 0x52454C4C  # with the process's number beside it
BEAT: Final = 0.5  # seconds between two questions to the session
HELD: Final = 2.0  # seconds without an answer, after which nothing new is sent
LOST: Final = 2.5  # seconds that a lock of another machine has to be free
NOTE: Final = 2.0  # seconds between two notes that it works

REGISTER: Final = "INSERT INTO processes (machine, pid, born) VALUES ($1, $2, $3) RETURNING number"
HOLD: Final = f"SELECT pg_try_advisory_lock({LIFE_LOCK}, $1)"
KNOWN: Final = "SELECT EXISTS (SELECT FROM processes WHERE number = $1)"
FORGET: Final = "DELETE FROM processes WHERE number = $1"


class WorkNote(NamedTuple):
    """How a process of a worker says that it works: whether it `did` since it was asked last, and the statement that
    notes it of the worker by that name.
    """

    did: Callable[[], bool]
    statement: str
    name: str


def prefix(number: int) -> str:
    """How the leases of a process begin, as PostgreSQL writes them."""
    return f"{number:08x}"


def end_process() -> NoReturn:
    """End a process that was declared dead: others have its orders."""
    log.critical("this process was declared dead and ends")
    os._exit(os.EX_TEMPFAIL)


class ProcessLife:
    """Of one process. Belongs to the event loop on which it begins."""

    def __init__(self, url: str, buried: Callable[[], None] = lambda: None, work: WorkNote | None = None) -> None:
        """Nothing connects yet; `buried` is called where the process was declared dead, before it has a new number.

        `work` is how it says that it has orders in hand, if it is to.
        """
        self._url, self._buried, self._work = url, buried, work
        self._noted = float("-inf")
        self._number: int | None = None
        self._proved = float("-inf")  # when the last question that was answered had been asked
        self._proof = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    def holds(self) -> bool:
        """Whether the process may begin to send, as far as it is known to live."""
        return time.monotonic() - self._proved < HELD

    def begin(self) -> None:
        """Take a number, and hold its lock from now on."""
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def lease(self) -> UUID:
        """A new lease of this process. Raises TimeoutError where it cannot show that it lives."""
        self.begin()
        async with asyncio.timeout(HELD):
            while not self.holds():
                self._proof.clear()
                await self._proof.wait()
        assert self._number is not None
        return UUID(int=self._number << 96 | secrets.randbits(96))

    async def end(self) -> None:
        """Take the number back: nothing is in hand any more. Raises nothing."""
        if self._keeping is None:
            return
        await ended(self._keeping)
        with suppress(Exception):
            connection = await reach(self._url, timeout=HELD, command_timeout=HELD)
            await connection.execute(FORGET, self._number)
            await connection.close()

    async def _keep(self) -> None:
        while True:
            try:
                await self._live()
            except Exception as error:  # asyncpg has many for a lost session, and who is not seen again sends no more
                log.warning("out of the journal's sight", extra={"error": type(error).__name__})
            await asyncio.sleep(BEAT)

    async def _live(self) -> None:
        """Hold the lock on one session until that is lost. Raises what asyncpg raises."""
        settings = {"application_name": "relais life"}
        connection = await reach(self._url, timeout=5, command_timeout=HELD, server_settings=settings)
        try:
            if self._number is None:
                self._number = await connection.fetchval(REGISTER, machine(), os.getpid(), birth(os.getpid()))
            if not await connection.fetchval(HOLD, self._number):
                return  # the session that had it is not over yet, or the leader is about to bury us
            known = True
            while known:
                known = await self._known(connection)
                await self._note(connection)
                await asyncio.sleep(BEAT)
            self._proved, self._number = float("-inf"), None
            self._buried()
        finally:
            connection.terminate()

    async def _note(self, connection: asyncpg.Connection) -> None:
        """Say that it works, every NOTE seconds at most."""
        if self._work is None or time.monotonic() - self._noted < NOTE:
            return
        if self._work.did():
            await connection.execute(self._work.statement, self._work.name)
            self._noted = time.monotonic()

    async def _known(self, connection: asyncpg.Connection) -> bool:
        """Ask the session: an answer proves that the lock was held when the question was asked."""
        asked = time.monotonic()
        known = bool(await connection.fetchval(KNOWN, self._number))
        if known:
            self._proved = asked
            self._proof.set()
        return known
