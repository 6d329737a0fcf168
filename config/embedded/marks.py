"""Marks: how a process is known again later, by another process or another run, and made to end.

A mark is a pid and what tells that process from any other with the same pid, whatever becomes of the wall clock:
the boot and the tick of it at which it began. What a dead leader leaves behind in its session is found by that
session, and killed.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any, Final, Self

import psutil

STAT: Final = "/proc/{}/stat"
BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
STARTED: Final = 19  # in STAT behind the name, which may hold anything: field 22, in ticks since boot
POLL: Final = 0.03  # s


@dataclass(frozen=True, slots=True)
class Mark:
    """One process and how it is ended: each signal is given `grace` seconds; the highest `rank` ends first."""

    name: str
    pid: int
    born: str
    rank: int = 0
    signals: tuple[int, ...] = (int(SIGTERM),)
    grace: float = 10.0

    def as_json(self) -> dict[str, Any]:
        """The mark as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The mark that `as_json` described."""
        return cls(**{**fields, "signals": tuple(fields["signals"])})


def birth(pid: int) -> str:
    """What no other process with this pid has; empty when there is none. No step of the wall clock changes it.

    Where there is no /proc, as on macOS, the kernel notes the hour of a process's start once and for all.
    """
    try:
        if not Path(STAT.format(os.getpid())).exists():
            return str(psutil.Process(pid).create_time())
        told = Path(STAT.format(pid)).read_text(errors="replace").rpartition(")")[2].split()
        return f"{boot()}:{told[STARTED]}"
    except (psutil.Error, OSError):
        return ""


@cache
def boot() -> str:
    """What names this boot of the kernel; empty where there is no /proc."""
    return BOOT.read_text().strip() if BOOT.exists() else ""


def find(mark: Mark) -> psutil.Process | None:
    """The process that the mark names, if it lives; a zombie does not."""
    try:
        process = psutil.Process(mark.pid)
        alive = bool(mark.born) and birth(mark.pid) == mark.born and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if alive else None


def end(
    mark: Mark,
    grace: float | None = None,
    hurry: threading.Event | None = None,
    child: subprocess.Popen[bytes] | None = None,
) -> None:
    """Send each signal of the mark and wait `grace` seconds after it, then SIGKILL it and its session.

    `hurry`, once set, cuts every wait to a second. A `child` of ours is known by its handle.
    """
    patience = mark.grace if grace is None else grace
    for signal in (*mark.signals, SIGKILL):
        if not _send(mark, signal, child):
            break
        await_end(mark, patience, hurry, child)
    kill_session(mark)


def await_end(
    mark: Mark,
    patience: float,
    hurry: threading.Event | None = None,
    child: subprocess.Popen[bytes] | None = None,
) -> None:
    """Wait until the process is dead, at most `patience` seconds, or one once `hurry` is set."""
    began = time.monotonic()
    while _lives(mark, child):
        most = min(patience, 1.0) if hurry is not None and hurry.is_set() else patience
        if time.monotonic() - began > most:
            return
        time.sleep(POLL)


def children(pid: int) -> list[Mark]:
    """What the process has started and its children in turn, as of now; without those that end meanwhile."""
    marks = []
    with suppress(psutil.NoSuchProcess):
        for each in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                marks.append(Mark(each.name(), each.pid, birth(each.pid)))
    return marks


def kill_session(mark: Mark) -> None:
    """SIGKILL what a dead leader left behind in its session, such as the pool of a Celery worker."""
    if find(mark) is not None:
        return
    for orphan in _session(mark):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(orphan, SIGKILL)


def _session(mark: Mark) -> list[int]:
    """Members of the marked process's session, except where its pid now leads another one."""
    if birth(mark.pid) not in ("", mark.born):
        return []
    members = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == mark.pid:
                members.append(pid)
    return members


def _lives(mark: Mark, child: subprocess.Popen[bytes] | None) -> bool:
    return find(mark) is not None if child is None else child.poll() is None


def _send(mark: Mark, signal: int, child: subprocess.Popen[bytes] | None) -> bool:
    if not _lives(mark, child):
        return False
    with suppress(ProcessLookupError):
        if child is None:
            os.kill(mark.pid, signal)
        else:
            child.send_signal(signal)
    return True
