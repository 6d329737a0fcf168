"""Orders that wait on this machine's disk until the intake takes them: one SQLite file, in order of their coming.

An order is in the spool when `append` returns, and not before: WAL, synchronous=FULL, and one thread that writes for
everybody, so that orders that come at the same time share one transaction and one fsync. Several processes may use
one file; `spool_file.turn` says which of them empties it. An order that waits already is not written twice, and one
that the intake refused stays, with the reason, until somebody takes it out.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from orders.client import spool_file as file
from orders.client.spool_file import PAGE, SpoolError, SpoolFull, open_file, page, translated
from orders.model import digest

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

MOST_ORDERS: Final = 500_000
MOST_BYTES: Final = 1024**3
GROUP: Final = 512  # calls that share a transaction


@dataclass(frozen=True, slots=True)
class Spooled:
    """An order in the spool: its number there, and whether it waited there before."""

    number: int
    repeated: bool


@dataclass(frozen=True, slots=True)
class WaitingOrder:
    """An order that has no answer yet, in its canonical bytes."""

    number: int
    body: bytes


@dataclass(frozen=True, slots=True)
class RefusedOrder:
    """An order that the intake will not take: `kind` is conflict, malformed or forbidden."""

    number: int
    body: bytes
    spooled_at: datetime
    kind: str
    reason: str
    refused_at: datetime


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What a spool holds: orders that wait, orders refused, bytes of both, since when the first one waits."""

    waiting: int
    refused: int
    size: int
    oldest: datetime | None


class Spool:
    """One spool, open. Its methods may be called at the same time."""

    def __init__(self, path: Path, most_orders: int = MOST_ORDERS, most_bytes: int = MOST_BYTES) -> None:
        """Open the file, or make it (mode 0600). It holds at most so many orders, of so many bytes. SpoolError."""
        self.path, self._most, self._closed = path, (most_orders, most_bytes), False
        self._calls: queue.SimpleQueue[_Call[Any] | None] = queue.SimpleQueue()
        self._base = open_file(path)
        self._writer = threading.Thread(target=self._write, name="spool", daemon=True)
        self._writer.start()

    async def append(self, bodies: Sequence[bytes]) -> list[Spooled | SpoolFull]:
        """Put canonical orders at the end; on disk when this returns. SpoolFull stands where there was no room."""
        now = _now()

        def work(base: sqlite3.Connection) -> list[Spooled | SpoolFull]:
            orders, size = base.execute("SELECT orders, bytes FROM held").fetchone()
            found: list[Spooled | SpoolFull] = []
            for body in bodies:
                known = base.execute(file.KNOWN, (mark := digest(body),)).fetchone()
                if known is not None:
                    found.append(Spooled(known[0], True))
                elif orders + 1 > self._most[0] or size + len(body) > self._most[1]:
                    held = f"{orders} of {self._most[0]} orders, {size} of {self._most[1]} bytes"
                    found.append(SpoolFull(f"the spool {self.path} is full: it holds {held}"))
                else:
                    number = base.execute(file.APPEND, (body, mark, now)).lastrowid
                    assert number is not None
                    orders, size = orders + 1, size + len(body)
                    found.append(Spooled(number, False))
            return found

        return await self._call(work, writes=True)

    async def settle(self, taken: Collection[int], refused: Collection[tuple[int, str, str]] = ()) -> None:
        """Forget the orders that the intake took, and mark (number, kind, reason) those that it refused."""
        now = _now()

        def work(base: sqlite3.Connection) -> None:
            base.executemany("DELETE FROM orders WHERE number = ?", [(number,) for number in taken])
            base.executemany(file.REFUSE, [(kind, reason, now, number) for number, kind, reason in refused])

        await self._call(work, writes=True)

    async def empty(self) -> bool:
        """True when no order waits."""
        return not await self.waiting(most=1)

    async def waiting(self, after: int = 0, most: int = PAGE) -> list[WaitingOrder]:
        """The first orders that wait, behind number `after`: so many, or 4 MiB of them, whichever is less."""
        return [WaitingOrder(*row) for row in await self._call(partial(page, query=file.HEAD, after=after, most=most))]

    async def refused(self, after: int = 0, most: int = PAGE) -> list[RefusedOrder]:
        """The first orders that were refused, behind number `after`, as many likewise."""
        rows = await self._call(partial(page, query=file.REFUSED, after=after, most=most))
        return [
            RefusedOrder(n, body, datetime.fromisoformat(at), kind, why, datetime.fromisoformat(then))
            for n, body, at, kind, why, then in rows
        ]

    async def outcome(self, number: int) -> str | None:
        """What became of one order: `waiting`, the kind of its refusal, or None when the intake took it."""
        query = "SELECT coalesce(kind, 'waiting') FROM orders WHERE number = ?"
        row = await self._call(lambda base: base.execute(query, (number,)).fetchone())
        return None if row is None else str(row[0])

    async def standing(self) -> SpoolStatus:
        """How much it holds."""
        waiting, refused, size, oldest = await self._call(lambda base: base.execute(file.STATUS).fetchone())
        return SpoolStatus(waiting, refused, size, datetime.fromisoformat(oldest) if oldest else None)

    async def close(self) -> None:
        """Finish what was asked for, and close the file."""
        self._closed = True
        self._calls.put(None)
        await asyncio.to_thread(self._writer.join)

    async def _call(self, work: Work[T], *, writes: bool = False) -> T:
        if self._closed:
            raise SpoolError(f"the spool {self.path} is closed")
        call = _Call(work, writes, Future())
        self._calls.put(call)
        return await asyncio.wrap_future(call.answer)

    def _write(self) -> None:
        """The thread: take what is there, do it in one transaction, tell everybody, until it is told to end."""
        group: list[_Call[Any] | None] = []
        with closing(self._base):
            while None not in group:
                group = [self._calls.get()]
                with suppress(queue.Empty):
                    while len(group) < GROUP:
                        group.append(self._calls.get_nowait())
                calls = [call for call in group if call is not None and call.answer.set_running_or_notify_cancel()]
                self._do([call for call in calls if not call.writes], commit=False)
                self._do([call for call in calls if call.writes], commit=True)

    def _do(self, calls: Sequence[_Call[Any]], commit: bool) -> None:
        """Do all of it, in one transaction if it writes, or, when something fails, nothing; and tell the callers."""
        try:
            with translated(self.path):
                if calls and commit:
                    self._base.execute("BEGIN IMMEDIATE")
                done = [call.work(self._base) for call in calls]
                self._base.commit()
        except Exception as error:
            with suppress(sqlite3.Error):
                self._base.rollback()
            for call in calls:
                call.answer.set_exception(error)
        else:
            for call, result in zip(calls, done, strict=True):
                call.answer.set_result(result)


@dataclass(frozen=True, slots=True)
class _Call(Generic[T]):
    work: Work[T]
    writes: bool
    answer: Future[T]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


WHAT: Final = {
    "relais_spool_orders": "Orders that wait on this machine for the intake.",
    "relais_spool_bytes": "Bytes of the orders in the spool, waiting or refused.",
    "relais_spool_oldest_age_seconds": "Time that the first of them has waited; 0 when none waits.",
}


def render(status: SpoolStatus) -> str:
    """The spool's metrics in Prometheus' text format."""
    age = 0.0 if status.oldest is None else max(0.0, (datetime.now(UTC) - status.oldest).total_seconds())
    values = (status.waiting, status.size, round(age, 3))
    lines = [
        f"# HELP {name} {what}\n# TYPE {name} gauge\n{name} {value}\n"
        for (name, what), value in zip(WHAT.items(), values, strict=True)
    ]
    return "".join(lines)
