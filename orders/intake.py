"""Intake by group commit: concurrent orders share one INSERT and one fsync; a lone order waits for nobody.

`accept` returns only when the order is on the journal's disk: a 202 is a receipt. The statement is idempotent on
(pharmacy, reference), so a group whose answer was lost is simply tried again. The commit itself notifies the
dispatcher; intake never talks to the queue and cannot notice that it is gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from uuid_utils.compat import uuid7

from orders.errors import Conflict, JournalDown
from orders.journal import DUE_CHANNEL, connect, unreachable
from orders.model import RANK, Order, canonical, digest
from orders.states import State

INSERT = text(f"""
WITH input AS (
  SELECT * FROM unnest(CAST(:id AS uuid[]), CAST(:pharmacy AS text[]), CAST(:reference AS text[]),
    CAST(:body AS bytea[]), CAST(:digest AS bytea[]), CAST(:client AS text[]), CAST(:priority AS smallint[]),
    CAST(:cut_off AS timestamptz[])) AS t (id, pharmacy, reference, body, digest, client, priority, cut_off)
), fresh AS (
  INSERT INTO orders (id, pharmacy, reference, body, digest, client)
  SELECT id, pharmacy, reference, body, digest, client FROM input
  ON CONFLICT (pharmacy, reference) DO NOTHING RETURNING id
), due AS (
  INSERT INTO deliveries (order_id, state, backend, priority, cut_off)
  SELECT id, '{State.ACCEPTED}', CAST(:backend AS text), priority, coalesce(cut_off, 'infinity')
  FROM input JOIN fresh USING (id) RETURNING order_id
)
SELECT array_agg(order_id), pg_notify('{DUE_CHANNEL}', '') FROM due
""")

FIRST = text("""
SELECT pharmacy, reference, orders.id, orders.digest
FROM unnest(CAST(:pharmacy AS text[]), CAST(:reference AS text[])) AS t (pharmacy, reference)
JOIN orders USING (pharmacy, reference)
""")


@dataclass(frozen=True, slots=True)
class Accepted:
    """An order that is on disk: its id, and whether this very order had been accepted before."""

    id: UUID
    repeated: bool


@dataclass(slots=True)
class _Entry:
    """An order that waits for its group."""

    id: UUID
    pharmacy: str
    reference: str
    body: bytes
    digest: bytes
    client: str
    priority: int
    cut_off: datetime | None
    answer: asyncio.Future[Accepted]

    @property
    def key(self) -> tuple[str, str]:
        return self.pharmacy, self.reference


@asynccontextmanager
async def open_intake(url: str, backend: str = "erp") -> AsyncIterator[Intake]:
    """An intake on the journal at `postgresql://…`, for a front end in Python that needs no HTTP."""
    engine = connect(url)
    intake = Intake(engine, backend)
    try:
        yield intake
    finally:
        await intake.close()
        await engine.dispose()


class Intake:
    """Takes orders into the journal. One instance per process and event loop; make it inside the loop."""

    def __init__(
        self, engine: AsyncEngine, backend: str, *, group: int = 256, committers: int = 2, waiting: int = 10_000
    ) -> None:
        """Up to `committers` groups of at most `group` orders commit at once; `waiting` bounds the rest."""
        self._engine = engine
        self._backend = backend
        self._group = group
        self._idle = committers
        self._bound = waiting
        self._waiting: deque[_Entry] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, order: Order, client: str) -> Accepted:
        """Journal one order and say so only once it is on disk.

        Raises Conflict (same reference, other content) and JournalDown (not known to be on disk: ask again), the
        latter after twice the engine's timeout at most.
        """
        if len(self._waiting) >= self._bound:
            raise JournalDown("too many orders wait for the journal")
        body = canonical(order)
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append(
            _Entry(
                uuid7(), order.pharmacy, order.reference, body, digest(body), client,
                RANK[order.priority], order.cut_off, answer,
            )
        )  # fmt: skip
        self._wake()
        return await answer

    async def close(self) -> None:
        """Wait for the groups that are being committed."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wake(self) -> None:
        if self._idle and self._waiting:
            self._idle -= 1
            task = asyncio.get_running_loop().create_task(self._commit())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _commit(self) -> None:
        """Commit group after group until nobody waits."""
        try:
            while self._waiting:
                count = min(self._group, len(self._waiting))
                group = sorted((self._waiting.popleft() for _ in range(count)), key=lambda entry: entry.key)
                await self._journal([entry for entry in group if not entry.answer.done()])
        finally:
            self._idle += 1

    async def _journal(self, group: list[_Entry]) -> None:
        """Write one group and answer each of its orders; sorted, so that two groups cannot deadlock."""
        if not group:
            return
        try:
            fresh = await self._insert(group)
            others = [entry for entry in group if entry.id not in fresh]
            firsts = await self._firsts(others) if others else {}
        except Exception as error:  # whatever it was, every waiting caller must be told
            self._fail(group, error)
            return
        for entry in group:
            _answer(entry, fresh, firsts)

    def _fail(self, group: list[_Entry], error: Exception) -> None:
        """Tell the group; if the journal is out of reach, tell those who wait behind it too, at once."""
        if unreachable(error):
            error = JournalDown("the journal is out of reach")
            group = [*group, *self._waiting]
            self._waiting.clear()
        for entry in group:
            if not entry.answer.done():
                entry.answer.set_exception(error)

    async def _insert(self, group: list[_Entry]) -> set[UUID]:
        """One statement, one fsync. A lost connection may have committed: asking again settles it."""
        columns = {
            name: [getattr(entry, name) for entry in group]
            for name in ("id", "pharmacy", "reference", "body", "digest", "client", "priority", "cut_off")
        }
        for last in (False, True):
            try:
                async with self._engine.connect() as connection:
                    row = (await connection.execute(INSERT, {**columns, "backend": self._backend})).one()
                return set(row[0] or ())
            except Exception as error:
                if last or not unreachable(error):
                    raise
        raise AssertionError("unreachable")

    async def _firsts(self, entries: list[_Entry]) -> dict[tuple[str, str], tuple[UUID, bytes]]:
        """The ids and digests under which these references were first accepted."""
        keys = {"pharmacy": [e.pharmacy for e in entries], "reference": [e.reference for e in entries]}
        async with self._engine.connect() as connection:
            rows = await connection.execute(FIRST, keys)
            return {(row[0], row[1]): (row[2], row[3]) for row in rows}


def _answer(entry: _Entry, fresh: set[UUID], firsts: dict[tuple[str, str], tuple[UUID, bytes]]) -> None:
    if entry.answer.done():
        return
    if entry.id in fresh:
        entry.answer.set_result(Accepted(entry.id, repeated=False))
        return
    first, known = firsts[entry.key]
    if known == entry.digest:
        entry.answer.set_result(Accepted(first, repeated=first != entry.id))
    else:
        entry.answer.set_exception(Conflict(str(first)))
