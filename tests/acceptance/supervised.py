"""A `relais up` in a process of its own, to be told to stop, or killed, and looked at afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from config.embedded.holding import Holding
from config.embedded.leash import Leash
from config.embedded.marks import Mark, birth, children, end, find
from config.embedded.process import module_env
from config.settings import ENDPOINTS
from tests.waiting import BUSY, until


class Up:
    """A `relais up` in its own process, and what it started."""

    def __init__(self, data_dir: Path, leash: Leash, argv: Sequence[str], **settings: str) -> None:
        self.data_dir = data_dir
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RELAIS_")}
        env = module_env({**kept, **{f"RELAIS_{name.upper()}": value for name, value in settings.items()}})
        self._said = data_dir / f"said.{time.monotonic()}"
        with self._said.open("w") as output:
            self.process = subprocess.Popen(
                argv,
                env=env,
                cwd=data_dir,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._leash = leash
        self.mark = Mark("up", self.process.pid, birth(self.process.pid), signals=(signal.SIGTERM,), grace=30)
        leash.hold(self.mark)

    def ready(self) -> dict[str, Any]:
        """Wait until everything is up; what it offers."""
        until(lambda: self.offered() or self.process.poll() is not None, timeout=60, what="relais up is up")
        assert self.offered(), self.said()
        return self.offered()

    def offered(self) -> dict[str, Any]:
        """What this run offers to others, if it does by now."""
        path = self.data_dir / ENDPOINTS
        offered: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return offered if offered.get("pid") == self.process.pid else {}

    def family(self) -> list[Mark]:
        """Everything that it has started, the watchdog included."""
        return children(self.process.pid)

    def pid(self, name: str) -> int:
        """The pid of one child as recorded."""
        return next(each["pid"] for each in self._recorded() if each["name"] == name)

    def names(self) -> set[str]:
        """The names of what is recorded as running."""
        return {each["name"] for each in self._recorded()}

    def watchdog(self) -> int:
        """The pid of the watchdog: the one child that is not recorded."""
        recorded = {each["pid"] for each in self._recorded()}
        direct = {mark.pid for mark in self.family() if os.getpgid(mark.pid) == mark.pid}
        (pid,) = (pid for pid in direct - recorded if "config.embedded.watchdog" in psutil.Process(pid).cmdline())
        return pid

    def signal(self, number: int) -> None:
        """Send `relais up` itself a signal."""
        self.process.send_signal(number)

    def exit_code(self, timeout: float = 60) -> int:
        """Wait for its end."""
        code = self.process.wait(timeout)
        self._leash.drop(self.mark)
        return code

    def said(self) -> str:
        """Everything that it printed and logged."""
        return self._said.read_text()

    def close(self) -> None:
        """Whatever became of the test, nothing stays."""
        family = self.family()
        if self.process.poll() is None:
            end(self.mark)
        self.exit_code()
        for mark in (*family, *Holding(self.data_dir).survivors()):
            end(mark)

    def _recorded(self) -> list[dict[str, Any]]:
        recorded: list[dict[str, Any]] = json.loads((self.data_dir / "run.json").read_text())["processes"]
        return recorded


def query(url: str, *statements: str) -> Any:
    async def ask() -> Any:
        connection = await asyncpg.connect(url, timeout=BUSY)
        try:
            for statement in statements:
                answer = await connection.fetchval(statement)
            return answer
        finally:
            await connection.close()

    return asyncio.run(ask())


def answers(url: str, statement: str) -> Any:
    """The answer, or None while the server is away."""
    try:
        return query(url, statement)
    except (OSError, asyncpg.PostgresError):
        return None


def nothing_left(family: list[Mark], timeout: float = 30) -> None:
    assert len(family) > 4
    until(lambda: not any(find(mark) for mark in family), timeout, what="nothing is left running")
