"""Sends a file of orders to the intake, many at a time, in memory that does not grow with the file.

Sending again is harmless: the intake knows an order by its pharmacy and reference. So whatever may not have arrived
(no connection, 503) is sent again, and an interrupted file is simply submitted once more.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from workers.cli.failure import Failure

FLIGHTS = 64  # orders on their way at once
LIMIT = 2 * 1024 * 1024  # bytes of a line; the intake takes no larger body
CHUNK = 256 * 1024
KEPT = 10_000  # lines not taken that are kept with their reasons; all are counted
ANSWER = 30.0  # s for one answer
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # s between tries

TAKEN = {202: "accepted", 200: "repeated"}
NOT_TAKEN = {409: "conflict", 400: "malformed", 413: "malformed", 422: "malformed", 500: "failed"}
LATER = {408, 425, 429, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file, without its end: number from 1, bytes it takes up; `text` is None when it is too long."""

    number: int
    size: int
    text: bytes | None


@dataclass(slots=True)
class Tally:
    """What came of the lines so far."""

    counts: Counter[str] = field(default_factory=Counter)
    not_taken: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0
    stopped: str | None = None

    @property
    def lines(self) -> int:
        """Lines that have their answer."""
        return self.counts.total()

    def note(self, line: Line, kind: str, reason: str | None = None) -> None:
        """Count a line, and keep why it was not taken."""
        self.counts[kind] += 1
        self.size += line.size
        if reason is not None and len(self.not_taken) < KEPT:
            self.not_taken.append({"line": line.number, "kind": kind, "reason": reason})


def lines_of(descriptor: int) -> Iterator[list[Line]]:
    """The lines of an open file or pipe as they come, in bounded memory; blank ones are counted and left out."""
    number, rest, dropped = 0, b"", 0
    while chunk := os.read(descriptor, CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        found = []
        for text in whole:
            number += 1
            found.append(_line(number, text, dropped))
            dropped = 0
        if len(rest) > LIMIT:
            dropped, rest = dropped + len(rest), b""
        yield [line for line in found if line.text != b""]
    if rest.strip() or dropped:
        yield [_line(number + 1, rest, dropped)]


def _line(number: int, text: bytes, dropped: int) -> Line:
    size = dropped + len(text) + 1
    return Line(number, size, None if size > LIMIT else text.strip())


async def send(descriptor: int, url: str, key: str, *, patience: float, tell: Callable[[Tally], None]) -> Tally:
    """Submit every line to the intake at `url`. `tell` hears of progress now and then.

    An intake that stays out of reach for `patience` seconds, or refuses the key, stops it: see `Tally.stopped`.
    """
    tally, queue = Tally(), asyncio.Queue[Line | Exception | None](FLIGHTS)
    timeout = aiohttp.ClientTimeout(total=ANSWER)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=FLIGHTS)
    _read_aside(descriptor, queue)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        desk = Desk(session, f"{url}/orders", patience, tally, tell)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(FLIGHTS):
                    group.create_task(desk.work(queue))
        except* Failure as failures:
            tally.stopped = str(failures.exceptions[0])
    tally.not_taken.sort(key=lambda entry: entry["line"])
    return tally


def _read_aside(descriptor: int, queue: asyncio.Queue[Line | Exception | None]) -> None:
    """Fill the queue from a thread, since a pipe may keep its reader waiting; None is the end."""
    loop = asyncio.get_running_loop()

    async def put(found: list[Line | Exception | None]) -> None:
        for each in found:
            await queue.put(each)

    def read() -> None:
        try:
            for found in lines_of(descriptor):
                asyncio.run_coroutine_threadsafe(put([*found]), loop).result()
            asyncio.run_coroutine_threadsafe(put([None]), loop).result()
        except OSError as error:
            asyncio.run_coroutine_threadsafe(put([error]), loop)
        except (CancelledError, RuntimeError):  # nobody is listening any more
            return

    threading.Thread(target=read, name="reader", daemon=True).start()


@dataclass(frozen=True, slots=True)
class Desk:
    """What the senders share."""

    session: aiohttp.ClientSession
    url: str
    patience: float
    tally: Tally
    tell: Callable[[Tally], None]

    async def work(self, queue: asyncio.Queue[Line | Exception | None]) -> None:
        """Place lines until there are no more. Failure when no line can be placed."""
        while (line := await queue.get()) is not None:
            if isinstance(line, Exception):
                raise Failure(f"the file cannot be read: {line}") from line
            if line.text is None:
                self.tally.note(line, "malformed", f"longer than {LIMIT} bytes")
            else:
                await self._place(line, line.text)
            if self.tally.lines % FLIGHTS == 0:
                self.tell(self.tally)
        queue.put_nowait(None)

    async def _place(self, line: Line, text: bytes) -> None:
        """Have one line answered, trying again for `patience` seconds."""
        deadline, wait = time.monotonic() + self.patience, FIRST_WAIT
        while (why := await self._try(line, text)) is not None:
            if time.monotonic() + wait > deadline:
                raise Failure(f"the intake at {self.url} is out of reach: {why}")
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(LONGEST_WAIT, wait * 2)

    async def _try(self, line: Line, text: bytes) -> str | None:
        """One try: None when the line has its answer, else why it has none yet. Failure when none ever will."""
        try:
            async with self.session.post(self.url, data=text) as answer:
                status, body = answer.status, await answer.read()
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise Failure(f"{self.url} is no URL such as http://127.0.0.1:8470/orders") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return str(error) or type(error).__name__
        if status in LATER:
            return f"it answered {status}"
        if status in TAKEN:
            self.tally.note(line, TAKEN[status])
        elif status in NOT_TAKEN:
            self.tally.note(line, NOT_TAKEN[status], reason_of(body) or f"the intake answered {status}")
        elif status in (401, 403):
            raise Failure(f"the intake refuses the API key: {reason_of(body) or status}")
        else:
            raise Failure(f"{self.url} answered {status}: is it the intake of Relais?")
        return None


def reason_of(body: bytes) -> str:
    """What a problem document (RFC 9457) says: its faults, else its detail; nothing when it is no such document."""
    try:
        problem = json.loads(body)
        faults = problem.get("faults") or []
        said = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults) or problem.get("detail") or ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return str(said)[:500]
