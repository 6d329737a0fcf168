"""A process as others know it: its machine, its pid and when it began, in ticks of the kernel since the boot.

On its own machine it is certain whether it still runs, whatever the clocks say and whoever has its pid now. A machine
is a boot of a kernel and a namespace of pids in it, so that a container is a machine of its own.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

STATE: Final = 0  # where it is among what follows the name in /proc/PID/stat, see proc_pid_stat(5)
START_TIME: Final = 19
OVER: Final = "ZXx"  # dead; a zombie is nobody any more


def machine() -> str:
    """Name the machine as no other is named at the same time."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').stat().st_ino}"


def began(pid: int) -> int | None:
    """When a process of this machine began, in ticks; None when it is over, or may not be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[STATE] in OVER else int(fields[START_TIME])


def runs(pid: int, ticks: int) -> bool:
    """Whether the process of this machine that has this pid, and began then, still runs; True where none can tell."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another account's, which may be hidden
        return began(pid) in (None, ticks)
    return began(pid) == ticks
