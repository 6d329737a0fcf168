"""Foreground programs: what to run, and the running process.

Each gets a session of its own: a Ctrl-C at the terminal reaches only whoever supervises it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Any, Final

import config
from config.embedded.files import open_log
from config.embedded.marks import Mark, birth, end, kill_session

log = logging.getLogger(__name__)

REAPED: Final = 10.0  # s until a killed process is gone, unless it is stuck in the kernel
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
    lock: Path | None = None  # held by the program and all that it starts, until the last of them is dead
    waits: bool = False  # at its standard input, for the line with which it begins


class Process:
    """A program that runs; keeps its exit code from being lost and its pid from being taken for another's."""

    def __init__(self, program: Program, rank: int = 0) -> None:
        self.program = program
        with ExitStack() as ours:
            output = None if program.log is None else open_log(program.log)
            held = () if program.lock is None else (take_lock(program.lock),)
            for descriptor in (*held, *(() if output is None else (output,))):
                ours.callback(os.close, descriptor)
            self._popen = _spawn(program, output, held)
        self.mark = Mark(program.name, self.pid, birth(self.pid))
        self.becomes(program, rank)

    @property
    def pid(self) -> int:
        """The process id; meaningful while `poll()` is None."""
        return self._popen.pid

    def begin(self) -> bool:
        """Tell a program that waits to begin; False when it is dead."""
        assert self._popen.stdin is not None
        try:
            with self._popen.stdin as pipe:
                pipe.write(b"\n")
        except BrokenPipeError:
            return False
        return self.poll() is None

    def becomes(self, program: Program, rank: int) -> None:
        """From now on it is a process of that program."""
        self.program, signals = program, tuple(int(each) for each in program.signals)
        self.mark = Mark(program.name, self.pid, self.mark.born, rank, signals, program.grace)

    def poll(self) -> int | None:
        """None while it runs, else its exit code (negative: the signal that ended it)."""
        return self._popen.poll()

    def end(self, grace: float | None = None, hurry: threading.Event | None = None) -> None:
        """Ask it to end, insist, and leave nothing of its session behind; blocks until then."""
        if self.poll() is None:
            end(self.mark, grace, hurry, self._popen)
        self.sweep()

    def kill(self) -> None:
        """SIGKILL to the process itself, as a fault in a test would; does not wait."""
        self._popen.kill()

    def sweep(self) -> None:
        """Reap it once it is dead and kill what is left of its session; one that nothing ends is told and left."""
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(REAPED)
        if self.poll() is None:
            log.error("cannot be ended", extra={"child": self.program.name, "pid": self.pid})
        if self._popen.stdin is not None:
            with suppress(BrokenPipeError):
                self._popen.stdin.close()
        kill_session(self.mark)


def take_lock(path: Path) -> int:
    """A descriptor that holds the lock at `path`; BlockingIOError while another process, or its child, holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


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


def _spawn(program: Program, output: int | None, held: Sequence[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        program.argv,
        stdin=subprocess.PIPE if program.waits else subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=held,
        env=None if program.env is None else dict(program.env),
        cwd=program.cwd,
        start_new_session=True,
        **as_account(program.account),
    )
