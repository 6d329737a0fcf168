"""Choosing loopback ports.

A port made up here lies below the range that the kernel hands out to outgoing connections (32768 and up on
Linux), so that a server which is restarted finds its port free.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Collection

LOWEST, HIGHEST = 20000, 32767
_dice = random.SystemRandom()


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True when a server could listen on the port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def choose(preferred: Collection[int | None] = (), *, host: str = "127.0.0.1", taken: Collection[int] = ()) -> int:
    """The first preferred port that is free and not in `taken`, else some free one; None and 0 prefer nothing."""
    for port in preferred:
        if port and port not in taken and is_free(port, host):
            return port
    for _ in range(1000):
        port = _dice.randint(LOWEST, HIGHEST)
        if port not in taken and is_free(port, host):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port on {host} between {LOWEST} and {HIGHEST}")
