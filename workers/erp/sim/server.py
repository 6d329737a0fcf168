"""A lean HTTP/1.1 server that can misbehave: asyncio and httptools, one request at a time on a connection.

Its port can really be shut: connections are refused while the address stays ours.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Final, cast

import httptools

from workers.erp.sim.reply import Reply, as_json

log = logging.getLogger("relais.erp.sim")

MOST_BYTES: Final = 4 * 1024 * 1024  # of a request's body

Answer = Callable[[str, str, dict[str, str], bytes], Reply | Awaitable[Reply] | None]


class Port:
    """An address that can be opened and shut."""

    def __init__(self, host: str, port: int, answer: Answer) -> None:
        """Take the address; port 0 is any free one. Raises OSError. Connections are refused until `open`."""
        self._answer = answer
        self._listening: asyncio.Server | None = None
        self._held: socket.socket | None = _bind(host, port)
        self.host, self.number = self._held.getsockname()[:2]
        self._connections: set[Connection] = set()

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._listening is not None

    async def open(self) -> None:
        """Accept connections."""
        if self._held is not None:
            held, self._held = self._held, None
            loop = asyncio.get_running_loop()
            self._listening = await loop.create_server(self._connection, sock=held, backlog=1024)

    async def shut(self) -> None:
        """Refuse connections, and break those that stand."""
        if self._listening is not None:
            await self.close()
            self._held = _bind(self.host, self.number)

    async def close(self) -> None:
        """Give the address up, and break the connections that stand."""
        listening, held, self._listening, self._held = self._listening, self._held, None, None
        if held is not None:
            held.close()
        if listening is not None:
            listening.close()
            for connection in list(self._connections):
                connection.abort()
            await listening.wait_closed()

    def _connection(self) -> Connection:
        return Connection(self._answer, self._connections)


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, answer: Answer, connections: set[Connection]) -> None:
        """`connections` holds the open ones."""
        self._answer = answer
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._later: set[asyncio.Task[None]] = set()
        self._parser = httptools.HttpRequestParser(self)
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was to be answered goes nowhere."""
        self._transport = None
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Parse and answer; what is no HTTP breaks the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            log.exception("the simulator failed")
            self.abort()
        except httptools.HttpParserError:
            self.abort()

    def abort(self) -> None:
        """Break the connection."""
        if self._transport is not None:
            self._transport.abort()

    def on_message_begin(self) -> None:
        """Called by httptools, as are the following."""
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._size += len(body)
        if self._size <= MOST_BYTES:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Answer."""
        if self._size > MOST_BYTES:
            return self._send(as_json(413, {"error": "the body is too large"}))
        method = self._parser.get_method().decode("latin-1")
        path = self._url.partition(b"?")[0].decode("latin-1")
        reply = self._answer(method, path, self._headers, b"".join(self._body))
        if reply is None:
            return None
        if not isinstance(reply, Reply):
            task = asyncio.ensure_future(self._send_when_known(reply))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
        elif reply.delay:
            asyncio.get_running_loop().call_later(reply.delay, self._send, reply)
        else:
            self._send(reply)
        return None

    async def _send_when_known(self, reply: Awaitable[Reply]) -> None:
        try:
            self._send(await reply)
        except Exception:
            log.exception("the simulator failed")
            self.abort()

    def _send(self, reply: Reply) -> None:
        if self._transport is None:
            return
        if reply.payload:
            self._transport.write(reply.payload)
        if reply.close:
            self._transport.close()


def _bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen: connections to it are refused, and nobody else can have its address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except OSError:
        held.close()
        raise
    return held
