"""Answers, from the ERP's directory into the records of the orders that they are for.

A file is first renamed out of the ERP's directory under a name that nobody else gives, then read, then what it says is
kept with each order, and only then is it archived, or set aside with its reason. Each step can be done again, by
anyone: whatever is killed in between leaves the file where the next one finds it, and what is kept twice is the same.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final
from uuid import UUID

from workers.erp.files.book import OrderBook
from workers.erp.files.edifact.answers import read_edifact
from workers.erp.files.failures import FileTooLarge, FileTrouble, NotThere, PlaceFault
from workers.erp.files.names import is_control
from workers.erp.files.options import FilesOptions
from workers.erp.files.place import FileEntry, FilePlace, is_ready_name
from workers.erp.files.tables.answers import read_table
from workers.erp.files.verdicts import AnswerSaid, UnfinishedFile, UnreadableAnswer, told

log = logging.getLogger("relais.erp")

PAUSE: Final = 0.5  # seconds between two looks of one process
MOST_AT_ONCE: Final = 200  # files in one look
REASON: Final = ".reason.txt"


class UnsentOrder(UnreadableAnswer):
    """An answer to an order that was never sent."""


class AnswerReader:
    """Reads the answers of one backend."""

    def __init__(self, place: FilePlace, book: OrderBook, own: FilesOptions) -> None:
        self._place, self._book, self._own = place, book, own
        self._lock, self._looked = asyncio.Lock(), 0.0
        self.heard: set[UUID] = set()  # orders of which something was read, until somebody takes note

    async def look(self, seconds: float) -> str | None:
        """Read what can be read, no file begun after so long, the rest another time; what was said of an order that was
        never sent, if anything was. Raises PlaceFault.
        """
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now - self._looked < PAUSE:
                return None
            await self._fetch()
            said = await self._read_all(now + seconds)
            self._looked = asyncio.get_running_loop().time()
            return said

    async def _fetch(self) -> None:
        """Rename what is complete out of the ERP's directory."""
        own = self._own
        found = (await self.waiting())[:MOST_AT_ONCE]
        if not found:
            return
        before = await self._before()
        for each in found:
            if each.modified <= before:
                target = f"{own.work}/read/{_stamp()}-{_plain(each.name)}"
                await self._move(f"{own.answers}/{each.name}", target)

    async def waiting(self) -> list[FileEntry]:
        """The answers in the ERP's directory, the oldest first. Raises PlaceFault."""
        return [each for each in await self._place.files(self._own.answers) if self._is_answer(each.name)]

    async def set_aside(self) -> int:
        """How many files are set aside: whoever has seen to one takes it away. Raises PlaceFault."""
        try:
            found = await self._place.files(f"{self._own.work}/aside")
        except NotThere:
            await self._book.present()
            return 0
        return sum(not each.name.endswith(REASON) for each in found)

    def _is_answer(self, name: str) -> bool:
        return is_ready_name(name) and any(fnmatchcase(name, pattern) for pattern in self._own.answer_names)

    async def _before(self) -> float:
        """A file that was last written to by then is steady, by the clock of who keeps it."""
        if self._own.steady == 0:
            return float("inf")
        return await self.clock() - self._own.steady

    async def clock(self) -> float:
        """The time by the clock of who keeps the files, who lets us write. Raises PlaceFault."""
        path = f"{self._own.work}/new/{secrets.token_hex(8)}.clock"
        await self._write(path, b"")
        try:
            return (await self._place.stat(path)).modified
        finally:
            await self._place.remove(path)

    async def _read_all(self, end: float) -> str | None:
        try:
            found = (await self._place.files(f"{self._own.work}/read"))[:MOST_AT_ONCE]
        except NotThere:
            return None
        if not found:
            return None
        now = await self.clock()
        steady = [each for each in found if each.modified <= now - self._own.steady]
        time = asyncio.get_running_loop().time
        said = [await self._read(each, now) for each in steady if time() < end]
        return next((each for each in said if each), None)

    async def _read(self, entry: FileEntry, now: float) -> str | None:
        """One file; what it says of an order that was never sent."""
        path = f"{self._own.work}/read/{entry.name}"
        try:
            data = await self._content(path)
            faults = await self._keep_all(await asyncio.to_thread(self._verdicts, data), entry.name)
        except NotThere:
            return None  # another worker was quicker
        except UnfinishedFile as error:
            if now - entry.modified < self._own.unfinished:
                return None
            faults = [error]
        except UnreadableAnswer as error:
            faults = [error]
        if faults:
            await self._set_aside(path, entry.name, faults)
        else:
            await self._move(path, f"{self._own.work}/archive/{_day()}/{entry.name}")
        return next((str(each) for each in faults if isinstance(each, UnsentOrder)), None)

    async def _content(self, path: str) -> bytes:
        """Raises UnreadableAnswer, and PlaceFault where it is not this one file that is at fault."""
        try:
            return await self._place.read(path, self._own.most_bytes)
        except FileTooLarge:
            raise UnreadableAnswer(f"the file has over {self._own.most_bytes} bytes") from None
        except PlaceFault as error:
            if error.trouble is FileTrouble.DENIED:
                raise UnreadableAnswer("permission denied") from None
            raise

    def _verdicts(self, data: bytes) -> list[AnswerSaid]:
        """Raises UnreadableAnswer, whatever is in the file: one that nobody foresaw holds up no other."""
        try:
            return self._said(data)
        except UnreadableAnswer:
            raise
        except Exception as error:
            log.exception("an answer meets something unforeseen")
            raise UnreadableAnswer(f"it cannot be read: {type(error).__name__}") from error

    def _said(self, data: bytes) -> list[AnswerSaid]:
        own = self._own
        if own.answer is not None and (own.edifact is None or data.lstrip()[:3] not in (b"UNA", b"UNB")):
            return read_table(data, own.answer)
        assert own.edifact is not None
        return read_edifact(data, own.edifact.back_ordered)

    async def _keep_all(self, verdicts: list[AnswerSaid], name: str) -> list[UnreadableAnswer]:
        """Keep what each answer says with its order; those that cannot be kept, and why."""
        faults = []
        for each in verdicts:
            try:
                await self._keep(each, name)
            except UnreadableAnswer as error:
                faults.append(error)
        return faults

    async def _keep(self, verdict: AnswerSaid, name: str) -> None:
        """Raises UnreadableAnswer, and UnsentOrder."""
        control = verdict.key()
        sent = await self._book.sent(control) if is_control(control) else None
        if sent is None:
            raise UnsentOrder(f"it answers {verdict.order or f'interchange {control[:14]!r}'}, which was never sent")
        says = told(verdict, sent)
        kept = await self._book.keep(control, replace(says, file=name))
        self.heard.add(sent.id)
        if replace(kept, file="") != replace(says, file="") and says.kind != "pending":
            raise UnreadableAnswer(f"order {sent.id} was answered before, otherwise, by {kept.file}: that answer stays")

    async def _set_aside(self, path: str, name: str, faults: list[UnreadableAnswer]) -> None:
        """Its reason is there before it is."""
        why = "\n".join(map(str, faults))
        log.error("an answer is set aside", extra={"file": name, "why": why[:1000]})
        aside = f"{self._own.work}/aside/{name}"
        await self._write(f"{aside}{REASON}", f"{why}\n".encode())
        await self._move(path, aside)

    async def _write(self, path: str, data: bytes) -> None:
        try:
            await self._place.write(path, data)
        except NotThere:
            await self._book.make(path.rpartition("/")[0])
            await self._place.write(path, data)

    async def _move(self, old: str, new: str) -> None:
        """Rename and sync; nothing where another worker did it before. Raises PlaceFault."""
        above = new.rpartition("/")[0]
        try:
            await self._place.move(old, new)
        except NotThere:
            await self._book.make(above)
            try:
                await self._place.move(old, new)
            except NotThere:
                return
        await self._place.sync(above)


def _stamp() -> str:
    """What makes a name unique, and sorts by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def _day() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def _plain(name: str) -> str:
    """A name of the ERP's with nothing in it that could lead elsewhere or not be shown."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-100:]
