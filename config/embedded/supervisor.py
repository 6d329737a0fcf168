"""Keeps children running: starts them one after the other, restarts what exits or hangs, stops all in reverse order.

A child that is found to hang is ended, with all that it started. One that ended, also before it was ready, comes back
after a pause that doubles from half a second to five, and is half a second again once the child has stayed up for a
minute. One that has a spare is replaced by it at once, or started again at once where none waits yet; where it keeps
dying, sooner of itself than by somebody's hand, it pauses like any other, and its spare comes later.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final, Self

from config.embedded.child import Backoff, Child, Spare
from config.embedded.leash import Leash
from config.embedded.marks import Mark
from config.embedded.process import Process
from config.embedded.service import StartFailed, until_ready

log = logging.getLogger(__name__)

# In a row, until a child fails the start, or has no spare soon: one that ends by itself, and one that somebody kills.
STARTS: Final = 3
KILLS: Final = 10


class Supervisor:
    """Supervises on one event loop; an async context manager that stops everything on leaving.

    `changed` is told the marks of what runs, after every start and end.
    """

    def __init__(
        self,
        leash: Leash,
        changed: Callable[[list[Mark]], None] = lambda marks: None,
        backoff: Backoff | None = None,
        poll: float = 0.1,
    ) -> None:
        self._leash = leash
        self._changed = changed
        self._backoff = backoff or Backoff()
        self._poll = poll
        self._running: dict[str, tuple[int, Process]] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._spares: dict[str, Spare] = {}
        self._hurry = threading.Event()
        self._guard: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """The pid of every child that runs now, by name, in the order of their start."""
        ranked = sorted(self._running.items(), key=lambda item: item[1][0])
        return {name: process.pid for name, (_, process) in ranked if process.poll() is None}

    async def start(self, *children: Child) -> None:
        """Start children in this order, return when all are ready, keep them running from then on.

        StartFailed when one never is ready; then whoever called has to `stop`.
        """
        if self._guard is None:
            self._guard = self._keep_watch(self._guard_leash())
        launched = []
        for child in children:
            await asyncio.to_thread(child.prepare)
            rank = len(self._running)
            launched.append((child, rank, self._launch(child, rank)))
        for child, rank, process in launched:
            begun = await self._until_ready(child, rank, process)
            log.info("ready", extra={"child": child.program.name, "pid": begun.pid})
            self._keep_watch(self._keep(child, rank, begun))
            if child.spare is not None:
                spare = self._spares[child.program.name] = Spare(child.spare, self._leash.hold, self._leash.drop)
                self._keep_watch(spare.keep())

    async def watch(self) -> None:
        """Return never; raise what went wrong in the supervision itself."""
        while True:
            for keeper in self._keepers:
                if keeper.done():
                    keeper.result()
            await asyncio.sleep(self._poll)

    def hurry(self) -> None:
        """Be done with patience: each child that is being stopped has a second left."""
        self._hurry.set()

    async def stop(self) -> dict[str, int]:
        """Stop every child, the last started first, each before the next. The exit codes of those that ran."""
        codes = {}
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for spare in self._spares.values():
            await asyncio.to_thread(spare.end)
        for name, (_, process) in sorted(self._running.items(), key=lambda item: -item[1][0]):
            await asyncio.to_thread(process.end, None, self._hurry)
            codes[name] = process.poll() or 0
            self._gone(process)
            log.info("stopped", extra={"child": name})
        self._running.clear()
        return codes

    def _keep_watch(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._keepers.append(task)
        return task

    async def _until_ready(self, child: Child, rank: int, process: Process) -> Process:
        """The child's process once it is ready: another than the first, where that ended before it was."""
        failures = 0
        while True:
            try:
                await until_ready(process, child.ready, child.patience)
                return process
            except StartFailed:
                code, failures = process.poll(), failures + 1
                if code is None or _too_often(code, failures):
                    raise
            process, failures = await self._replace(child, rank, process, code, failures)

    async def _keep(self, child: Child, rank: int, process: Process) -> None:
        """Wait for the child's end, pause, start it again, without end."""
        failures = 0
        while True:
            began = time.monotonic()
            code = await self._end_of(child, process)
            failures = 1 if time.monotonic() - began >= self._backoff.healthy_after else failures + 1
            process, failures = await self._replace(child, rank, process, code, failures)

    async def _replace(
        self, child: Child, rank: int, process: Process, code: int, failures: int
    ) -> tuple[Process, int]:
        """The child, started after as many tries as it takes, and the failures in a row that this makes."""
        name = child.program.name
        await asyncio.to_thread(process.sweep)
        self._gone(process)
        log.warning("exited", extra={"child": name, "code": code, "restart_in": self._pause(child, code, failures)})
        while True:
            await asyncio.sleep(self._pause(child, code, failures))
            try:
                await asyncio.to_thread(child.prepare)
                revived = self._launch(child, rank, soon=not _too_often(code, failures))
            except (OSError, RuntimeError) as error:
                failures += 1
                extra = {"child": name, "restart_in": self._pause(child, code, failures)}
                log.warning("restart failed", extra=extra, exc_info=error)
            else:
                log.info("restarted", extra={"child": name, "pid": revived.pid})
                return revived, failures

    def _pause(self, child: Child, code: int, failures: int) -> float:
        spare = self._spares.get(child.program.name)
        if spare is not None and (spare.waits or not _too_often(code, failures)):
            return 0.0
        return min(child.pause, self._backoff.after(failures))

    async def _end_of(self, child: Child, process: Process) -> int:
        """Its exit code, once it has exited or was found to hang and has been ended."""
        exiting = asyncio.ensure_future(self._exit_of(process))
        hanging = asyncio.ensure_future(child.hangs(process.pid))
        try:
            await asyncio.wait((exiting, hanging), return_when=asyncio.FIRST_COMPLETED)
            if not exiting.done():
                hanging.result()
                log.error("hangs", extra={"child": child.program.name, "pid": process.pid})
                await asyncio.to_thread(process.end, None, self._hurry)
            return await exiting
        finally:
            exiting.cancel()
            hanging.cancel()

    async def _exit_of(self, process: Process) -> int:
        while True:
            if (code := process.poll()) is not None:
                return code
            await asyncio.sleep(self._poll)

    async def _guard_leash(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._leash.check()

    def _launch(self, child: Child, rank: int, *, soon: bool = False) -> Process:
        spare = self._spares.get(child.program.name)
        process = (spare and spare.take(child.program, rank, soon=soon)) or Process(child.program, rank)
        try:
            self._leash.hold(process.mark)
        except OSError:
            process.end()
            raise
        self._running[child.program.name] = (rank, process)
        self._tell()
        return process

    def _gone(self, process: Process) -> None:
        self._leash.drop(process.mark)
        self._tell()

    def _tell(self) -> None:
        """A record that cannot be written, on a full disk say, is no reason to let go of what runs."""
        try:
            self._changed(self._leash.marks)
        except OSError:
            log.exception("run not recorded")


def _too_often(code: int, failures: int) -> bool:
    """Whether so many failures in a row, the last with this exit code, are a child's that cannot live."""
    return failures >= (STARTS if code >= 0 else KILLS)
