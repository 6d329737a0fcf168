"""The data directory, held by one supervisor at a time, and what is known there of its processes.

The hold is a lock that the kernel lets go of with its owner. `run.json` outlives the owner: in it the next one
finds the ports to keep and the processes that nobody ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from config.embedded.files import write_private
from config.embedded.marks import Mark, find

RUN = "run.json"
LOCK = "up.lock"


class AlreadyHeld(Exception):
    """Another process holds the data directory; the message says which."""


class Holding:
    """One data directory, made when there is none. `take` first; `release` last."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.ports: dict[str, int] = {}
        self._lock: int | None = None

    def take(self) -> None:
        """Lock the directory and read the record of the run before; Held when another process has the lock."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self.data_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 200, 0).decode().strip() or "another process"
            self.release()
            raise AlreadyHeld(f"{self.data_dir} is in use by {holder}") from None
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"process {os.getpid()}, started {started}\n".encode(), 0)
        self.ports = {name: int(port) for name, port in self._read().get("ports", {}).items()}

    def survivors(self) -> list[Mark]:
        """Recorded processes that still live, the one to end first first."""
        marks = [Mark.from_json(fields) for fields in self._read().get("processes", []) if "born" in fields]
        alive = [mark for mark in marks if find(mark) is not None]
        return sorted(alive, key=lambda mark: mark.rank, reverse=True)

    def record(self, marks: Sequence[Mark], ports: Mapping[str, int] | None = None) -> None:
        """Write down what runs now, and the ports where they changed."""
        self.ports = {**self.ports, **(ports or {})}
        run = {"processes": [mark.as_json() for mark in marks], "ports": self.ports}
        write_private(self.data_dir / RUN, json.dumps(run, indent=2) + "\n")

    def release(self) -> None:
        """Let go of the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _read(self) -> dict[str, Any]:
        try:
            record = json.loads((self.data_dir / RUN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return dict(record)
