"""Hands over a file of orders, in memory that does not grow with the file, and counts what became of each of them.

Every order is safe somewhere before the next few hundred go: in Relais, or in the spool while the intake is away.
Sending again is harmless, so an interrupted file is simply submitted once more.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from orders.client.answers import Kept, Outcome, kind_of
from orders.client.client import OrderClient
from orders.client.spool import SpoolStatus
from orders.client.spool_file import SpoolError
from orders.errors import Fault, Forbidden, Malformed, Unauthorised
from workers.cli.files.formats import OrdersFile
from workers.cli.files.lines import FileLine, Unusable

LINES = 400  # handed over at once
AHEAD = 4  # times as many are read ahead
KEPT = 10_000  # lines not taken that are kept with their reasons; all are counted

Client = Callable[[Callable[[int, Outcome], None]], OrderClient]
Tell = Callable[[str], None]  # why it does not go on, if it does not
Read = list[FileLine] | Unusable | OSError | None  # None is the end


@dataclass(slots=True)
class SubmitCounts:
    """What came of the lines so far. `spooled` are those whose order waits in the spool, by its number there."""

    counts: Counter[str] = field(default_factory=Counter)
    not_taken: list[dict[str, Any]] = field(default_factory=list)
    size: int = 0
    stopped: str | None = None
    trouble: str | None = None
    spooled: defaultdict[int, list[int]] = field(default_factory=partial(defaultdict, list))

    @property
    def lines(self) -> int:
        """Lines whose order is safe, or refused."""
        return self.counts.total()

    def note(self, line: FileLine, outcome: Outcome) -> None:
        """Count a line that is read."""
        self.size += line.size
        if isinstance(outcome, Kept) and outcome.number is not None:
            self.counts["spooled"] += 1
            self.spooled[outcome.number].append(line.number)
        else:
            self._count(line.number, outcome)

    def heard(self, number: int, outcome: Outcome) -> None:
        """Count the lines whose order has left the spool."""
        for line in self.spooled.pop(number, ()):
            self.counts["spooled"] -= 1
            self._count(line, outcome)

    def _count(self, line: int, outcome: Outcome) -> None:
        reason = None if isinstance(outcome, Kept) else str(outcome)[:500]
        self.count(line, kind_of(outcome), reason)

    def count(self, line: int, kind: str, reason: str | None) -> None:
        """Count a line, and keep why it was refused."""
        self.counts[kind] += 1
        if reason is not None and len(self.not_taken) < KEPT:
            self.not_taken.append({"line": line, "kind": kind, "reason": reason})


async def send(file: OrdersFile, client_for: Client, result: SubmitCounts, *, patience: float, tell: Tell) -> None:
    """Have every order safe somewhere, then give the spool `patience` seconds without progress to become empty.

    A key that is refused and a spool that is full stop it: see `SubmitCounts.stopped`. `tell` hears of progress.
    Raises Unusable, with nothing handed over.
    """
    queue = asyncio.Queue[Read](AHEAD)
    async with client_for(result.heard) as client:
        _read_aside(file, queue)
        try:
            while isinstance(lines := await queue.get(), list):
                await _place(client, lines, result)
                tell(str(client.trouble or ""))
            if isinstance(lines, Unusable):
                raise lines
            await _empty(client, result, patience, tell)
            result.stopped = f"the file cannot be read: {lines}" if lines else None
        except (Unauthorised, Forbidden) as error:
            result.stopped = f"the intake refuses the API key: {error}"
        except SpoolError as error:
            result.stopped = str(error)
    result.not_taken.sort(key=lambda entry: entry["line"])


async def _place(client: OrderClient, lines: Sequence[FileLine], result: SubmitCounts) -> None:
    """Have these lines safe. Raises Unauthorised or Forbidden, when they wait in the spool for another key, and
    SpoolError when one is not safe.
    """
    outcomes = iter(await client.submit_many([line.text for line in lines if line.text is not None]))
    for line in lines:
        outcome = Malformed([Fault("body", None, line.fault)]) if line.text is None else next(outcomes)
        if isinstance(outcome, SpoolError):
            raise outcome
        result.note(line, outcome)
    _key_must_do(client, result)


async def _empty(client: OrderClient, result: SubmitCounts, patience: float, tell: Tell) -> None:
    def told(_: SpoolStatus) -> None:
        tell(str(client.trouble or ""))

    if result.spooled:
        await client.flush(patience, told)
        await _what_others_sent(client, result)
    _key_must_do(client, result)
    result.trouble = str(client.trouble) if result.spooled else None


def _key_must_do(client: OrderClient, result: SubmitCounts) -> None:
    if result.spooled and isinstance(client.trouble, Unauthorised | Forbidden):
        raise client.trouble


async def _what_others_sent(client: OrderClient, result: SubmitCounts) -> None:
    """Another process may have emptied the spool meanwhile, and have had the answers."""
    for number in [*result.spooled]:
        became = await client.spool.outcome(number)
        if became == "waiting":
            continue
        for line in result.spooled.pop(number):
            result.counts["spooled"] -= 1
            result.count(line, became or "accepted", "see `relais spool status`" if became else None)


def _read_aside(file: OrdersFile, queue: asyncio.Queue[Read]) -> None:
    """Fill the queue from a thread, since a pipe may keep its reader waiting."""
    loop = asyncio.get_running_loop()

    def put(read: Read) -> None:
        asyncio.run_coroutine_threadsafe(queue.put(read), loop).result()

    def read() -> None:
        try:
            try:
                for found in file:
                    for start in range(0, len(found), LINES):
                        put(found[start : start + LINES])
                put(None)
            except (Unusable, OSError) as error:
                put(error)
        except (CancelledError, RuntimeError):  # nobody is listening any more
            return

    threading.Thread(target=read, name="reader", daemon=True).start()
