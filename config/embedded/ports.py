"""Choosing loopback ports.

A port made up here lies below the range that the kernel hands out to outgoing connections (32768 and up on
Linux), so that a server which is restarted finds its port free. It is kept bound, without listening, while this
process lives: nobody else who makes one up meanwhile takes it, and a server of ours that reuses addresses can listen.
"""

from __future__ import annotations

import errno
import os
import random
import socket
from collections import deque
from collections.abc import Collection
from contextlib import suppress

LOWEST, HIGHEST = 20000, 32767
MOST_KEPT = 128  # sockets, the newest: a process has only so many files
MOST_SHOWN = 80  # characters of a command line
_dice = random.SystemRandom()
_kept: deque[int] = deque()  # file descriptors, which end with the process


class PortTaken(Exception):
    """A port that was asked for is another's; the message says whose."""


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True when a server could listen on the port now."""
    with _socket(host) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _bound(probe, port, host)


def choose(preferred: Collection[int | None] = (), *, host: str = "127.0.0.1", taken: Collection[int] = ()) -> int:
    """The first preferred port that is free and not in `taken`, else some free one; None and 0 prefer nothing."""
    for port in preferred:
        if port and port not in taken and is_free(port, host):
            return port
    for _ in range(1000):
        port = _dice.randint(LOWEST, HIGHEST)
        if port not in taken and _keep(port, host):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port on {host} between {LOWEST} and {HIGHEST}")


def holder(port: int) -> str:
    """Who listens on the port of this machine: `process 4711 (nginx: master process)`, as far as may be known."""
    import psutil

    mine = [each for each in psutil.net_connections("tcp") if each.laddr and each.laddr.port == port]
    pids = {each.pid for each in mine if each.pid and each.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)}
    for pid in sorted(pids):
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            return f"process {pid} ({' '.join(process.cmdline())[:MOST_SHOWN] or process.name()})"
    return "a process of another user's"


def _keep(port: int, host: str) -> bool:
    """Keep the port when nobody has it, not even bound, and let a server listen on it from then on.

    Two who come at the same time cannot both have it: neither reuses an address while it binds.
    """
    kept = _socket(host)
    if not _bound(kept, port, host):
        kept.close()
        return False
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _kept.append(kept.detach())
    if len(_kept) > MOST_KEPT:
        os.close(_kept.popleft())
    return True


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)


def _bound(probe: socket.socket, port: int, host: str) -> bool:
    try:
        probe.bind((host, port))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            return False
        raise
    return True
