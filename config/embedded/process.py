"""Foreground programs: what to run, and the running process.

Each gets a session of its own: a Ctrl-C at the terminal reaches only whoever supervises it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Any, Final

import config
from config.embedded.files import open_log
from config.embedded.marks import Mark, creation, end, kill_session

ROOT: Final = Path(config.__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a program steps down to."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how it is asked to end: each signal is given `grace` seconds, then comes SIGKILL."""

    name: str
    argv: tuple[str, ...]
    log: Path | None  # None: the output of who starts it
    env: Mapping[str, str] | None = None
    signals: tuple[Signals, ...] = (SIGTERM,)
    grace: float = 10.0
    account: Account | None = None
    cwd: str = "/"


class Process:
    """A program that runs; keeps its exit code from being lost and its pid from being taken for another's."""

    def __init__(self, program: Program, rank: int = 0) -> None:
        self.program = program
        log = None if program.log is None else open_log(program.log)
        try:
            self._popen = _spawn(program, log)
        finally:
            if log is not None:
                os.close(log)
        signals = tuple(int(each) for each in program.signals)
        self.mark = Mark(program.name, self.pid, creation(self.pid), rank, signals, program.grace)

    @property
    def pid(self) -> int:
        """The process id; meaningful while `poll()` is None."""
        return self._popen.pid

    def poll(self) -> int | None:
        """None while it runs, else its exit code (negative: the signal that ended it)."""
        return self._popen.poll()

    def end(self, grace: float | None = None, hurry: threading.Event | None = None) -> None:
        """Ask it to end, insist, and leave nothing of its session behind; blocks until then."""
        if self.poll() is None:
            end(self.mark, grace=grace, hurry=hurry)
        self.sweep()

    def kill(self) -> None:
        """SIGKILL to the process itself, as a fault in a test would; does not wait."""
        self._popen.kill()

    def sweep(self) -> None:
        """Reap it once it is dead and kill what is left of its session."""
        self._popen.wait()
        kill_session(self.mark)


def module(name: str, *arguments: str) -> tuple[str, ...]:
    """The argv that runs one of our modules; `-P` because a foreign `config/` may lie in the user's directory."""
    return (sys.executable, "-P", "-m", name, *arguments)


def module_env(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`env` with our modules on the path, for a checkout that is not installed."""
    if str(ROOT) in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return dict(env)
    path = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
    return {**env, "PYTHONPATH": os.pathsep.join(path)}


def as_account(account: Account | None) -> dict[str, Any]:
    """What makes subprocess step down to the user."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def _spawn(program: Program, log: int | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        program.argv,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=None if program.env is None else dict(program.env),
        cwd=program.cwd,
        start_new_session=True,
        **as_account(program.account),
    )
