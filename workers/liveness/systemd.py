"""systemd's notification protocol (sd_notify(3)): a datagram of VARIABLE=value lines to the socket it names.

Without NOTIFY_SOCKET, or when nobody listens there any more, nothing happens: it never fails a worker.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Final

log = logging.getLogger("relais.worker")

READY: Final = "READY=1"
WATCHDOG: Final = "WATCHDOG=1"
STOPPING: Final = "STOPPING=1"


def tell_systemd(news: str) -> None:
    """Tell the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(1.0)
        try:
            sender.sendto(news.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            log.warning("the service manager cannot be told", extra={"error": type(error).__name__})
