"""Marks: how a process is known again later, by another process or another run, and made to end.

A mark is a pid and a creation time, never a pid alone. What a dead leader leaves behind in its session is found
by that session, and killed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from signal import SIGKILL, SIGTERM
from typing import Any, Final, Self

import psutil

SAME: Final = 2.0  # s; the kernel's idea of boot time, to which psutil adds, may move by a second
POLL: Final = 0.03  # s


@dataclass(frozen=True, slots=True)
class Mark:
    """One process and how it is ended: each signal is given `grace` seconds; the highest `rank` ends first."""

    name: str
    pid: int
    created: float
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


def creation(pid: int) -> float:
    """When the process was created, seconds since the epoch; now, when it is too late to ask."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return time.time()


def find(mark: Mark) -> psutil.Process | None:
    """The process that the mark names, if it lives; a zombie does not."""
    try:
        process = psutil.Process(mark.pid)
        alive = abs(process.create_time() - mark.created) < SAME and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if alive else None


def end(mark: Mark, grace: float | None = None, hurry: threading.Event | None = None) -> None:
    """Send each signal of the mark and wait `grace` seconds after it, then SIGKILL it and its session.

    `hurry`, once set, cuts every wait to a second.
    """
    patience = mark.grace if grace is None else grace
    for signal in (*mark.signals, SIGKILL):
        if not _send(mark, signal):
            break
        await_end(mark, patience, hurry)
    kill_session(mark)


def await_end(mark: Mark, patience: float, hurry: threading.Event | None = None) -> None:
    """Wait until the process is dead, at most `patience` seconds, or one once `hurry` is set."""
    began = time.monotonic()
    while find(mark) is not None:
        most = min(patience, 1.0) if hurry is not None and hurry.is_set() else patience
        if time.monotonic() - began > most:
            return
        time.sleep(POLL)


def children(pid: int) -> list[Mark]:
    """What the process has started and its children in turn, as of now."""
    try:
        return [
            Mark(each.name(), each.pid, each.create_time()) for each in psutil.Process(pid).children(recursive=True)
        ]
    except psutil.NoSuchProcess:
        return []


def kill_session(mark: Mark) -> None:
    """SIGKILL what a dead leader left behind in its session, such as the pool of a Celery worker."""
    if find(mark) is not None:
        return
    for orphan in _session(mark):
        try:
            orphan.kill()
        except psutil.NoSuchProcess:
            continue


def _session(mark: Mark) -> list[psutil.Process]:
    """Members of the marked process's session, except where its pid now leads another one."""
    if psutil.pid_exists(mark.pid) and abs(creation(mark.pid) - mark.created) >= SAME:
        return []
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == mark.pid and process.create_time() > mark.created - SAME:
                members.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            continue
    return members


def _send(mark: Mark, signal: int) -> bool:
    process = find(mark)
    if process is None:
        return False
    try:
        process.send_signal(signal)
    except psutil.NoSuchProcess:
        return False
    return True
