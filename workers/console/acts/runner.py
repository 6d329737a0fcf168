"""Acts that run: each as a task of this process, with a beat in the journal by which others know that it lives.

What ends an act is written down by the process that ran it, again and again until the journal has it. When that is
lost in the middle nobody knows what was committed, and that is what is written. A console that ends lets acts come
to their next batch, then marks what still ran as interrupted; what it cannot mark any more, the next console will.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from orders.ending import ended
from orders.errors import RelaisError
from orders.journal import connect, unreachable
from orders.refusals import NotDone
from orders.schema.tables.acts import ActState
from orders.sentences import Sentence
from workers.console.access.people import Role
from workers.console.acts import table
from workers.console.acts.act import Act, Chosen, Stopped
from workers.console.error_pages import refused
from workers.console.state import ACT_TIMEOUT, ConsoleState
from workers.operations import acting_as, noting

log = logging.getLogger("relais.console")

BEAT: Final = 1.0  # seconds between two beats
SWEEP: Final = 5.0  # seconds between two looks for acts whose process has gone
FLUSH: Final = 0.25  # seconds at least between two words of an act that reach the journal
END_TIMEOUT: Final = 5.0  # seconds that acts have to end when the console does
CLICK_TIMEOUT: Final = 5.0  # seconds that a click waits for what it did
LOOK_EVERY: Final = 0.1  # seconds between two looks for the end of an act that another console runs
POOL: Final = 4  # connections for all acts together


@dataclass(slots=True)
class Going:
    """One act that runs here; the `Running` that its `run` is given."""

    state: ConsoleState
    number: UUID
    act: Act
    sees: str
    done: int = 0
    total: int | None = None
    note: Sentence | None = None
    stop: Sentence | None = None  # why it has to stop: by whom, or what has changed
    why: str = "stop"
    noted: list[int] = field(default_factory=list)
    said: float = 0.0  # when the journal heard of it last

    async def at(self, done: int, total: int | None, note: Sentence | None = None) -> None:
        """As `Running.at`."""
        self.done, self.total, self.note = done, total, note
        if self.stop is None and time.monotonic() - self.said >= FLUSH:
            await self.beat()
        if self.state.stopping.is_set():
            self.end("console", Sentence(NotDone.CONSOLE_ENDS))
        if self.stop is not None:
            raise Stopped(self.stop)

    async def beat(self) -> None:
        """Tell the journal, and hear whether to go on. Raises what the journal raises."""
        self.said = time.monotonic()
        async with self.state.engine.connect() as connection:
            row = (await connection.execute(table.BEAT, {"id": self.number, **self.told()})).one_or_none()
        if row is None:
            return
        if row.stop_asked_by is not None:
            self.end("stop", Sentence(NotDone.STOPPED_BY, by=row.stop_asked_by))
        elif row.role is None or not Role(row.role).covers(self.act.role):  # None: the account is disabled
            self.end("role", Sentence(NotDone.ROLE_LOST))

    def end(self, why: str, said: Sentence) -> None:
        """It has to stop when it comes to it; the first reason counts."""
        if self.stop is None:
            self.why, self.stop = why, said

    def told(self) -> dict[str, Any]:
        """How far it is, as parameters."""
        return {"done": self.done, "total": self.total, "note": self.note, "operations": sorted(set(self.noted))}


class Runner:
    """The acts of one console process. Belongs to one event loop."""

    def __init__(self, state: ConsoleState, kinds: Mapping[str, Act]) -> None:
        """Nothing runs yet. Acts have connections of their own: no page waits for them."""
        self.kinds = kinds
        self._state = state
        self._engine = connect(state.settings.need("database_url"), pool=POOL, timeout=ACT_TIMEOUT)
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._going: dict[UUID, Going] = {}
        self._keeper: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Keep beating, and look for acts whose process has gone."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def title(self, row: Mapping[str, Any]) -> str:
        """What an act of that row is called."""
        act = self.kinds.get(row["kind"])
        return act.title if act is not None else str(row["kind"])

    def start(self, number: UUID, act: Act, chosen: Chosen, reason: str, operator: str, sees: str) -> None:
        """Run an act whose row was just made."""
        going = Going(self._state, number, act, sees)
        work = self._run(going, chosen, reason, operator)
        self._going[number] = going
        self._tasks[number] = asyncio.get_running_loop().create_task(work)

    async def over(self, number: UUID) -> Mapping[str, Any]:
        """An act's row once it is over, whichever console runs it: within CLICK_TIMEOUT, while the console serves."""
        late = time.monotonic() + CLICK_TIMEOUT
        while (row := await table.needed(self._state.engine, number))["state"] == ActState.RUNNING:
            left = late - time.monotonic()
            if left <= 0 or self._state.stopping.is_set():
                break
            await self._wait(number, left)
        return row

    async def _wait(self, number: UUID, seconds: float) -> None:
        """Until this act is over, where it runs here; for LOOK_EVERY where it runs elsewhere or is about to."""
        stopping = asyncio.ensure_future(self._state.stopping.wait())
        task = self._tasks.get(number)
        until, seconds = ({stopping}, min(seconds, LOOK_EVERY)) if task is None else ({task, stopping}, seconds)
        await asyncio.wait(until, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()

    def stop(self, number: UUID, who: str) -> None:
        """Spare an act of this process the way by the journal."""
        if number in self._going:
            self._going[number].end("stop", Sentence(NotDone.STOPPED_BY, by=who))

    async def close(self) -> None:
        """End what runs: at its next batch, or after END_TIMEOUT seconds where it stands."""
        self._state.stopping.set()
        tasks = set(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=END_TIMEOUT)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=END_TIMEOUT)
        await ended(self._keeper)
        await self._engine.dispose()

    async def _run(self, going: Going, chosen: Chosen, reason: str, operator: str) -> None:
        outcome: dict[str, Any] | None = None
        ended, why, error = "done", None, None
        state = replace(self._state, engine=self._engine)
        try:
            with acting_as(operator, going.number), noting() as going.noted:
                outcome = await going.act.run(state, chosen, reason, going)
        except Stopped as stopped:
            outcome = stopped.outcome
            ended, why, error = "interrupted" if going.why == "console" else "stopped", going.why, refused(stopped)
        except asyncio.CancelledError:
            ended, why, error = "interrupted", "console", Sentence(NotDone.CONSOLE_ENDED)
        except Exception as failure:
            ended, why, error = _judge(going, failure)
        finally:
            await self._end(going, {"state": ended, "why": why, "error": error, "outcome": _plain(outcome)})

    async def _end(self, going: Going, end: dict[str, Any]) -> None:
        """Write down how it ended, however long that takes, as long as this process lives."""
        values = {"id": going.number, **going.told(), **end}
        try:
            while not await self._written(values):
                if self._state.stopping.is_set():
                    break
                await asyncio.sleep(BEAT)
        finally:
            del self._going[going.number], self._tasks[going.number]

    async def _written(self, values: dict[str, Any]) -> bool:
        try:
            async with self._state.engine.connect() as connection:
                await connection.execute(table.END, values)
        except Exception as error:
            if unreachable(error):
                return False
            log.exception("the end of an act cannot be written", extra={"act": values["id"]})
        return True

    async def _keep(self) -> None:
        """Every act's beat, also while its statement takes minutes; raises nothing."""
        swept = float("-inf")
        while True:
            try:
                for going in list(self._going.values()):
                    await going.beat()
                if time.monotonic() - swept > SWEEP:
                    swept = time.monotonic()
                    for lost in await table.give_up(self._state.engine):
                        log.warning("an act was interrupted", extra={"act": lost.id, "kind": lost.kind})
            except Exception as error:
                if not unreachable(error):
                    log.exception("the console cannot tell of its acts")
            await asyncio.sleep(BEAT)


def _judge(going: Going, failure: Exception) -> tuple[str, str, Sentence | None]:
    """State, kind and words of an act that raised."""
    if isinstance(failure, RelaisError):
        return "failed", type(failure).__name__, refused(failure)
    if unreachable(failure):
        log.warning("the journal was lost in the middle of an act", extra={"act": going.number})
        return "interrupted", "journal", Sentence(NotDone.JOURNAL_LOST)
    log.error("an act failed", exc_info=failure, extra={"act": going.number, "kind": going.act.kind})
    return "failed", "fault", Sentence(NotDone.FAULT, fault=type(failure).__name__)


def _plain(outcome: dict[str, Any] | None) -> str | None:
    return None if outcome is None else json.dumps(outcome, default=str)
