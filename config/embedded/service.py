"""What the embedded servers have in common: prepare the data, start the program, wait until it answers."""

from __future__ import annotations

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import psutil

from config.embedded.files import tail
from config.embedded.leash import Leash
from config.embedded.marks import POLL, Mark, await_end, birth, children
from config.embedded.process import Process, Program, take_lock

LET_GO: Final = 10.0  # s that what a dead server started may need to end

Ready = Callable[[], Awaitable[bool]]


class StartFailed(RuntimeError):
    """A program ended, or stayed silent, before it was ready; the message ends with the last lines of its log."""

    def __init__(self, program: Program, why: str) -> None:
        lines = tail(program.log) if program.log else ""
        super().__init__(f"{program.name} {why}; see {program.log}" + (f":\n{lines}" if lines else ""))


class Service(ABC):
    """A server on 127.0.0.1 with its data in `data_dir`. Synchronous; not to be called from an event loop."""

    name: str
    binary: str  # its name as a process

    def __init__(self, data_dir: Path, port: int) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.port = port
        self._process: Process | None = None
        self._leash: Leash | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients reach it, password included."""

    @abstractmethod
    def prepare(self) -> None:
        """Make its data ready for a start; changes nothing that a start needs and that is there already."""

    @abstractmethod
    def program(self) -> Program:
        """The foreground program to run once prepared."""

    @abstractmethod
    async def ready(self) -> bool:
        """True when it has answered a client. Does not raise while the server comes up."""

    @property
    @abstractmethod
    def home(self) -> Path:
        """The directory of its data, in which it works."""

    @property
    @abstractmethod
    def pid_file(self) -> Path:
        """Where the server itself writes its pid, in the first line."""

    @property
    def lock(self) -> Path:
        """What each of its processes holds while it lives, whoever started it."""
        return self.data_dir / f"{self.name}.lock"

    def written_pid(self) -> int:
        """The pid in its file; 0 when there is none."""
        try:
            return int(self.pid_file.read_text(encoding="utf-8").split("\n")[0])
        except (FileNotFoundError, ValueError):
            return 0

    def survivor(self) -> Mark | None:
        """The server of an earlier run that still lives on this data, also where nobody wrote it down."""
        pid = self.written_pid()
        try:
            process = psutil.Process(pid)
            if process.name() != self.binary or not _works_in(process, self.home):
                return None
        except (ValueError, psutil.Error):
            return None
        program = self.program()
        return Mark(self.name, pid, birth(pid), signals=tuple(map(int, program.signals)), grace=program.grace)

    def await_data(self) -> None:
        """Wait until no process holds the data, which those of a dead server soon let go; StartFailed if one stays."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        deadline = time.monotonic() + LET_GO
        while True:
            try:
                os.close(take_lock(self.lock))
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    why = "was not started: another server holds its data"
                    raise StartFailed(self.program(), why) from None
                time.sleep(POLL)

    @property
    def pid(self) -> int:
        """The server's process id while it runs."""
        return self._running().pid

    def start(self, leash: Leash | None = None, timeout: float = 60.0) -> None:
        """Start it and return once it answers; StartFailed when it does not within `timeout` seconds.

        `leash` ends it with this process; a later start without one takes the same.
        """
        self.prepare()
        self._leash = leash or self._leash
        self._process = Process(self.program())
        if self._leash is not None:
            self._leash.hold(self._process.mark)
        try:
            asyncio.run(until_ready(self._process, self.ready, timeout))
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout: float | None = None) -> None:
        """Stop it cleanly; after `timeout` seconds (its own grace when None) less kindly. Again is harmless."""
        if self._process is None:
            return
        self._process.end(grace=timeout)
        if self._leash is not None:
            self._leash.drop(self._process.mark)
        self._process = None

    def kill(self) -> None:
        """SIGKILL, and wait until it and its own children are dead. `start` brings it back with the same data."""
        process = self._running()
        family = children(process.pid)
        process.kill()
        self.stop()
        for child in family:
            await_end(child, 10.0)

    def _running(self) -> Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._process


async def until_ready(process: Process, ready: Ready, timeout: float) -> None:
    """Ask `ready` (an async predicate) until it says yes; StartFailed when the process ends first or time is up."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if (code := process.poll()) is not None:
            raise StartFailed(process.program, f"ended with {code} before it was ready")
        if await ready():
            return
        await asyncio.sleep(0.05)
    raise StartFailed(process.program, f"was not ready within {timeout:g} s")


def _works_in(process: psutil.Process, home: Path) -> bool:
    """Its arguments name the directory, or, where we may see that, it is where the process works."""
    return str(home) in process.cmdline() or Path(process.cwd()) == home.resolve()
