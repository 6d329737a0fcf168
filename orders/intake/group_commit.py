"""Intake by group commit: concurrent orders share one INSERT and one fsync; a lone order waits for nobody.

`accept` returns only when the order is on disk, in the journal or, while PostgreSQL is away, in the spill: a 202 is a
receipt. A group whose answer was lost is tried again, or spilled under the same ids, and never makes a second order.
Where the journal is there, a group waits for Redis only while the spill may hold an earlier order (`spill_watch`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from config.errors import said
from orders.errors import Fault, JournalDown, Malformed, RelaisError
from orders.intake.entries import Accepted, Entry, entry, known, write
from orders.intake.late import refusals, seem_late
from orders.intake.order_log import tell_accepted
from orders.intake.routing import Routing, always
from orders.intake.spill import SpillSigner, spill
from orders.intake.spill_watch import SpillWatch
from orders.intake.store import SpillDown, Store
from orders.intake.store_switch import StoreSwitch
from orders.journal import at_fault, connect, refused
from orders.model import Order

log = logging.getLogger("relais.intake")

Answers = list[Accepted | RelaisError]


@dataclass(slots=True)
class _Party:
    """Entries that came together and are answered together."""

    entries: Sequence[Entry]
    answer: asyncio.Future[Answers]


@asynccontextmanager
async def open_intake(url: str, backend: str | Routing = "erp") -> AsyncIterator[Intake]:
    """An intake on the journal at `postgresql://…`, for a front end in Python that needs no HTTP.

    Where orders are routed, `backend` is what `orders.intake.routing.open_routing` returns for the settings.
    """
    engine = connect(url)
    intake = Intake(engine, backend)
    try:
        yield intake
    finally:
        await intake.close()
        await engine.dispose()


class Intake:
    """Takes orders. One instance per process and event loop; make it inside the loop."""

    def __init__(
        self,
        engine: AsyncEngine,
        backend: str | Routing,
        *,
        spill: tuple[Store, SpillSigner] | None = None,
        group: int = 256,
        committers: int = 2,
        waiting: int = 10_000,
        grouped: Callable[[int], None] | None = None,
    ) -> None:
        """Up to `committers` groups of about `group` orders commit at once; `waiting` bounds the rest.

        `backend` is where orders go, or says it of each; `grouped` hears how many orders each group has.
        """
        self.store_switch = StoreSwitch(engine, spill)
        self.spill = spill
        self._watch = SpillWatch(*spill) if spill is not None else None
        self._engine = engine
        self.route = always(backend) if isinstance(backend, str) else backend
        self._group = group
        self._grouped = grouped
        self._idle = committers
        self._bound = waiting
        self._waiting: deque[_Party] = deque()
        self._count = 0  # of the entries that wait
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(
        self,
        order: Order,
        client: str,
        *,
        request_id: str | None = None,
        key: str | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> Accepted:
        """Take one order and say so only once it is on disk; `key` is the client's own, `origin` any JSON object.

        Raises Conflict (same reference, other content), KeyReused (same key, other order), Malformed (its time is over,
        or no store could write it) and JournalDown (not known to be on disk: ask again), the latter after twice the
        engine's timeout at most.
        """
        new = entry(order, client, self.route(order), request_id=request_id, key=key, origin=origin)
        (answer,) = await self.accept_all([new])
        if isinstance(answer, Accepted):
            return answer
        raise answer

    async def accept_all(self, entries: Sequence[Entry]) -> Answers:
        """Take a few hundred entries at once; what came of each, in their order.

        RelaisError is a Conflict, a KeyReused or a Malformed. Raises JournalDown when none is known to be on disk.
        """
        if self._count >= self._bound:
            raise JournalDown("too many orders wait for the journal")
        answer: asyncio.Future[Answers] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Party(entries, answer))
        self._count += len(entries)
        self._wake()
        return await answer

    async def close(self) -> None:
        """Wait for the groups that are being committed."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._watch is not None:
            await self._watch.close()
        await self.store_switch.close()

    def _wake(self) -> None:
        if self._idle and self._waiting:
            self._idle -= 1
            task = asyncio.get_running_loop().create_task(self._commit(), context=Context())  # of no request
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _commit(self) -> None:
        """Commit group after group until nobody waits."""
        try:
            while self._waiting:
                await self._keep(self._next_group())
        finally:
            self._idle += 1

    def _next_group(self) -> list[_Party]:
        """Whole parties, of as many entries as a group takes, or a single larger one; none that nobody waits for."""
        group: list[_Party] = []
        size = 0
        while self._waiting and (not group or size + len(self._waiting[0].entries) <= self._group):
            party = self._waiting.popleft()
            self._count -= len(party.entries)
            if not party.answer.done():
                group.append(party)
                size += len(party.entries)
        return group

    async def _keep(self, group: list[_Party]) -> None:
        """Put a group on disk and answer it."""
        entries = [each for party in group for each in party.entries]
        if entries and self._grouped is not None:
            self._grouped(len(entries))
        try:
            answers = await self._place(entries, set()) if entries else []
        except Exception as error:  # whatever it was, every waiting caller must be told
            for party in group:
                if not party.answer.done():
                    party.answer.set_exception(error)
            return
        start = 0
        for party in group:
            end = start + len(party.entries)
            if not party.answer.done():
                party.answer.set_result(answers[start:end])
            start = end
        tell_accepted(entries, answers)

    async def _place(self, entries: list[Entry], doubted: set[UUID]) -> Answers:
        """Into the journal; what keeps the group out of it and is no order's fault leads into the spill.

        `doubted` are those that the journal may have although it did not say so. Raises JournalDown.
        """
        if self.store_switch.journal_up:
            try:
                return await self._journal_unless_spilled(entries, doubted)
            except Exception as error:
                if at_fault(error):
                    return await self._halve(entries, doubted, error)
                self.store_switch.lose_journal(error)
        store, key = self.store_switch.spill()
        try:
            answers, era = await spill(entries, store, key, doubted)
            if self._watch is not None:
                await self._watch.announced(era)
            return answers
        except SpillDown as error:
            self.store_switch.lose_spill(error)
            raise JournalDown("the journal and the spill are out of reach") from None

    async def _halve(self, entries: list[Entry], doubted: set[UUID], error: Exception) -> Answers:
        """One of the entries cannot be written: it alone is refused."""
        if len(entries) == 1:
            log.error("an order cannot be written", extra={"why": type(said(error)).__name__})
            return [Malformed([Fault("body", None, "the journal cannot write this order")])]
        half = len(entries) // 2
        return [*await self._place(entries[:half], doubted), *await self._place(entries[half:], doubted)]

    async def _journal_unless_spilled(self, entries: list[Entry], doubted: set[UUID]) -> Answers:
        """Into the journal, but for what the spill has an earlier order of, and what comes for the first time when its
        time is over: the first receipt wins.

        What the journal has is the first whatever the spill has: that one was spilled by who could not know.
        """
        firsts = await self._watch.firsts(entries) if self._watch is not None else {}
        late = seem_late(entries)
        if not firsts and not late:
            return await self._journal(entries, doubted)
        async with self._engine.connect() as connection:
            firsts = await refusals(connection, late) | firsts
            firsts |= await known(connection, [each for each in entries if each.id in firsts])
        new = [each for each in entries if each.id not in firsts]
        written = iter(await self._journal(new, doubted) if new else ())
        return [firsts[each.id] if each.id in firsts else next(written) for each in entries]

    async def _journal(self, entries: list[Entry], doubted: set[UUID]) -> Answers:
        """One statement, one fsync. A lost connection may have committed: asking again settles it."""
        for last in (False, True):
            sent = False
            try:
                async with self._engine.connect() as connection:
                    sent = True
                    return await write(connection, entries)
            except Exception as error:
                if sent and not refused(error):
                    doubted.update(each.id for each in entries)
                if last or not _worth_another(error):
                    raise
        raise AssertionError("unreachable")


def _worth_another(error: Exception) -> bool:
    """A connection that was closed, a deadlock; not a journal that let us wait in vain."""
    cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig is not None else error
    return not at_fault(error) and not isinstance(cause, TimeoutError)
