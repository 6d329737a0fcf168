"""The leash: whatever is put on it ends when this process does, even by SIGKILL.

A pipe leads to a small watchdog process (`config.embedded.watchdog`). Should the watchdog itself be killed, the
next `check`, `hold` or `drop` starts another and tells it everything again.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterable
from typing import IO, Any

from config.embedded.marks import Mark
from config.embedded.process import module, module_env


class Leash(contextlib.AbstractContextManager["Leash"]):
    """Holds marks of running processes; a context manager that ends, on leaving, whatever is still held."""

    def __init__(self) -> None:
        self._marks: dict[int, Mark] = {}
        self._lock = threading.Lock()
        self._dog: subprocess.Popen[bytes] | None = None

    @property
    def marks(self) -> list[Mark]:
        """What is held now."""
        return list(self._marks.values())

    @property
    def pid(self) -> int | None:
        """The watchdog's pid, for tests that kill it."""
        return self._dog.pid if self._dog else None

    def hold(self, mark: Mark) -> None:
        """Put a process on the leash."""
        with self._lock:
            self._marks[mark.pid] = mark
            self._tell([{"hold": mark.as_json()}])

    def drop(self, mark: Mark) -> None:
        """Take a process off the leash: it has ended."""
        with self._lock:
            self._marks.pop(mark.pid, None)
            self._tell([{"drop": mark.pid}])

    def check(self) -> None:
        """Start the watchdog again if it died."""
        with self._lock:
            self._tell([])

    def close(self, timeout: float = 120.0) -> None:
        """Let go: the watchdog ends what is still held, at most `timeout` seconds long, and exits."""
        with self._lock:
            if self._dog is None:
                return
            if self._dog.poll() is not None and self._marks:
                self._tell([])
            with contextlib.suppress(BrokenPipeError):
                _pipe(self._dog).close()
            self._dog.wait(timeout)
            self._dog = None
            self._marks.clear()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, news: list[dict[str, Any]]) -> None:
        """Write the news; to a fresh watchdog everything that is held, which is the same news."""
        if self._dog is not None and self._dog.poll() is None:
            try:
                _write(self._dog, news)
                return
            except BrokenPipeError:
                pass
        self._replace()

    def _replace(self) -> None:
        if self._dog is not None:
            with contextlib.suppress(BrokenPipeError):
                _pipe(self._dog).close()
            self._dog.kill()
            self._dog.wait()
        self._dog = _start()
        _write(self._dog, ({"hold": mark.as_json()} for mark in self._marks.values()))


def _start() -> subprocess.Popen[bytes]:
    """A watchdog in a session of its own, out of reach of the terminal's signals."""
    return subprocess.Popen(
        module("config.embedded.watchdog"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=module_env(os.environ),
        cwd="/",
        start_new_session=True,
    )


def _write(dog: subprocess.Popen[bytes], news: Iterable[dict[str, Any]]) -> None:
    for each in news:
        _pipe(dog).write(json.dumps(each).encode() + b"\n")
    _pipe(dog).flush()


def _pipe(dog: subprocess.Popen[bytes]) -> IO[bytes]:
    assert dog.stdin is not None
    return dog.stdin
