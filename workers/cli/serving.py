"""The intake as a process: uvicorn on one socket, told apart from other programs by one line when it is ready.

At SIGTERM or SIGINT it stops taking connections, lets the requests in hand have their answer, and exits with 0.
"""

from __future__ import annotations

import logging
import signal
import socket
from types import FrameType

import uvicorn

from config import logs
from config.settings import Settings
from orders.api import create_app
from workers.cli.failure import Failure

log = logging.getLogger("relais.api")

GRACE = 10  # s that a request in hand may take after SIGTERM


def serve_api(settings: Settings, host: str, port: int) -> None:
    """Serve the intake until told to stop. Failure when the address cannot be had."""
    logs.setup(settings.log_level)
    logging.getLogger("uvicorn").setLevel(max(logging.getLogger().level, logging.WARNING))
    listening = _listen(host, port)
    options = uvicorn.Config(
        create_app(settings), loop="uvloop", http="httptools", ws="none", lifespan="on", access_log=False,
        log_config=None, server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE,
    )  # fmt: skip
    server = _Server(options)
    # uvicorn raises the signal that stopped it once more when it is done; by then it has done what was asked.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, server.told)
    server.run(sockets=[listening])
    if not server.started:
        raise Failure("the intake did not start")


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and sockets:
            log.info("ready url=%s", _url(sockets[0]))

    def told(self, number: int, frame: FrameType | None) -> None:
        """A stop signal that comes before uvicorn listens for them."""
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise Failure(f"{host} is no address: {error.strerror or error}") from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Failure(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
