"""A process as others know it: its machine, its pid and its birth, so that on its own machine it is certain whether it
still runs, whatever the clocks say and whoever has its pid now.

A machine is a boot of a kernel and a namespace of pids in it, so that a container is a machine of its own.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

import psutil

from config.embedded.marks import Mark, birth, boot, find

NAMESPACE: Final = Path("/proc/self/ns/pid")


def machine() -> str:
    """Name the machine as no other is named at the same time."""
    return f"{socket.gethostname()} {boot()} {NAMESPACE.stat().st_ino if NAMESPACE.exists() else ''}"


def runs(pid: int, born: str) -> bool:
    """Whether the process of this machine with this pid and `birth` still runs; True where none can tell."""
    return find(Mark("", pid, born)) is not None if birth(pid) else psutil.pid_exists(pid)
