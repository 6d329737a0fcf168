"""Intake and console as processes: uvicorn on one socket, told apart from other programs by one line when ready.

At SIGTERM or SIGINT it stops taking connections, lets the requests in hand have their answer, and exits with 0.
"""

from __future__ import annotations

import gc
import logging
import resource
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from config.addresses import url_of
from config.settings import Settings
from config.telemetry import logs, traces
from orders.api import Parts, create_app
from orders.api.connection import Connections, HttpConnection
from orders.api.connection.connections import MOST_CONNECTIONS
from orders.api.event_hub import MOST_LISTENERS
from orders.intake.spill import SpillSigner
from workers.cli.failure import CommandFailed, why_not
from workers.intake.rate_limit import RateLimit
from workers.intake.spill_store import RedisSpill

log = logging.getLogger("relais.api")

GRACE = 10  # s that a request in hand may take after SIGTERM
GONE = 60_000  # ms after which a connection whose other end takes nothing is ended
COLLECT = (50_000, 20, 50)  # more objects before the garbage collector looks; Python's own are 700, 10, 10
FILES = 256  # open files beside those of connections
ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))  # s, s, times


def serve_api(settings: Settings, host: str, port: int) -> None:
    """Serve the intake until told to stop. Failure when the address cannot be had."""
    logs.begin(settings)
    traces.begin(settings, "relais-api")
    listening = _listen(host, port)
    connections = Connections(_most_connections())
    app = create_app(settings, _parts(settings, connections))
    started = _serve(app, app.end_streams, listening, connections)
    traces.end()
    if not started:
        raise CommandFailed("the intake did not start")


def serve_console(settings: Settings, host: str, port: int) -> None:
    """Serve the console until told to stop. Failure when the address cannot be had."""
    from workers.console.app import create_app as create_console

    logs.begin(settings)
    app = create_console(settings)
    if not _serve(app, app.state.end_streams, _listen(host, port), Connections(_most_connections())):
        raise CommandFailed("the console did not start")


def _serve(
    app: ASGIApp, end_streams: Callable[[], Awaitable[None]], listening: socket.socket, connections: Connections
) -> bool:
    """Until a signal stops it; whether it ever started."""
    logging.getLogger("uvicorn").setLevel(max(logging.getLogger().level, logging.WARNING))
    options = uvicorn.Config(
        app,
        loop="uvloop",
        http=partial(HttpConnection, connections),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )
    server = _Server(options, end_streams)
    # uvicorn raises the signal that stopped it once more when it is done; by then it has done what was asked.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, server.told)
    server.run(sockets=[listening])
    return server.started


def _most_connections() -> int:
    """As many as there are open files for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_CONNECTIONS
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted:
        log.warning("the limit of open files leaves room for fewer connections", extra={"limit": soft})
    return max(soft // 2, soft - FILES)


def _parts(settings: Settings, connections: Connections) -> Parts:
    """What needs Redis, which the intake can do without, and its connections."""
    listeners = min(MOST_LISTENERS, connections.most * 3 // 4)
    if settings.queue.url is None or settings.queue.spill_key is None:
        log.warning("no spill, RELAIS_REDIS_URL and RELAIS_SPILL_KEY are needed to take orders without PostgreSQL")
    if settings.queue.url is None:
        return Parts(listeners=listeners, connections=connections)
    spill = (
        (RedisSpill(settings.queue.url), SpillSigner.of(settings.queue.spill_key)) if settings.queue.spill_key else None
    )
    return Parts(spill, RateLimit(settings.queue.url, settings.api.client_rate), listeners, connections)


class _Server(uvicorn.Server):
    def __init__(self, options: uvicorn.Config, end_streams: Callable[[], Awaitable[None]]) -> None:
        super().__init__(options)
        self._end_streams = end_streams

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        # What is there now stays. Each request leaves little that only the collector finds, and looking through a
        # thousand idle listeners for it, as often as Python does by default, costs orders a quarter of their time.
        gc.freeze()
        gc.set_threshold(*COLLECT)
        if self.started and sockets:
            log.info("ready", extra={"url": url_of(*sockets[0].getsockname()[:2])})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._end_streams()
        await super().shutdown(sockets)

    def told(self, number: int, frame: FrameType | None) -> None:
        """A stop signal that comes before uvicorn listens for them."""
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise CommandFailed(f"{host} is no address: {error.strerror or error}") from None
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ALIVE:
        listening.setsockopt(socket.IPPROTO_TCP, option, value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise CommandFailed(f"cannot listen on {host}:{port}: {why_not(error, port)}") from None
    return listening
