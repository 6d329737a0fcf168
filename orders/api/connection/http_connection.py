"""uvicorn's HTTP/1.1 protocol on httptools, with bounds before anything is kept and a time for everything.

What a head may hold is counted as it comes (414, 431), whoever asks for an upgrade is answered as HTTP/1.1 (RFC 9110,
7.8), and Host is as RFC 9112, 3.2 has it. A head, a body and a pause have their time; a body's grows with its bytes. A
connection that ends before its client has sent everything reads on for a moment (RFC 9112, 9.6), lest the answer is
lost, and then hangs up.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httptools
from pydantic_core import to_json
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orders.api.connection.connections import Connections
from orders.api.connection.exchange import Exchange
from orders.api.connection.head import (
    MOST_HEAD,
    MOST_HEADERS,
    MOST_URL,
    BadRequest,
    check_host,
    check_version,
    target,
    without_upgrade,
)

MOST_AHEAD: Final = 16  # requests that wait on one connection for the answer to an earlier one
HEAD_TIME: Final = 20.0  # seconds for a whole head, the first from the connection's first moment
BODY_TIME: Final = 20.0  # seconds without a byte of a body
BODY_RATE: Final = 500  # bytes a second of it, at least
IDLE_TIME: Final = 75.0  # seconds between two requests
UNREAD_TIME: Final = 60.0  # seconds in which a client takes nothing of an answer
LINGER_TIME: Final = 2.0  # seconds for a client to notice that its connection ends
LINGER_BYTES: Final = 4 * 1024 * 1024  # bytes that it may still send meanwhile
READ: Final = {b"host", b"content-length", b"expect"}
HEALTH: Final = ("/healthz", "/readyz", "/metrics")
NEVER: Final = float("inf")


class HttpConnection(HttpToolsProtocol):
    """One connection. uvicorn makes it, with what its other protocols are made with."""

    scope: Any
    cycle: Exchange | None  # type: ignore[assignment]  # the latest that came; those before it are in `pipeline`

    def __init__(self, connections: Connections, **uvicorn: Any) -> None:
        """`connections` are all of the process."""
        super().__init__(**uvicorn)
        self._connections = connections
        self._due = NEVER  # when it has lasted too long
        self._why = "silent"  # what it is then, of REASONS
        self._dry = 0  # bytes since the last that was a whole head or of a body
        self._size = self._hosts = self._lingered = 0
        self._length: int | None = None  # of the body, as the head has it
        self._headed = self._over = False
        self._again: bytes | None = None  # a head that asks for an upgrade, without that
        self._serving: Exchange | None = None  # the one being answered
        self._paused = 0.0  # seconds for which nothing of a body was read, since nobody wanted it
        self._stuck = NEVER  # since when the client has taken nothing

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._wait("silent", HEAD_TIME)
        if not self._connections.admit(self, self.loop):
            self._connections.count_ended("refused")
            self._refuse(BadRequest(503, "there are as many connections as may be"))

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, from whatever side."""
        self._connections.forget(self)
        if (serving := self._serving) is not None and not serving.response_complete:
            serving.disconnected = True
            serving.message_event.set()
        super().connection_lost(exc)
        self.pipeline.clear()

    def overdue(self, now: float) -> str | None:
        """Why it has lasted too long, if it has."""
        if self._stuck + UNREAD_TIME < now and (self._why not in ("body", "linger") or self._paused > UNREAD_TIME):
            return "unread"
        if self._due >= now:
            return None
        if self._why == "body" and self.flow.read_paused:  # it is not the client that is waited for
            self._wait("body", BODY_TIME)
            self._paused += BODY_TIME
            return None
        return self._why if self._why != "linger" else None

    def end(self) -> None:
        """Hang up."""
        self.transport.abort()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self._stuck = self.loop.time()

    def resume_writing(self) -> None:
        """The client takes what it is sent."""
        super().resume_writing()
        self._stuck = NEVER

    def data_received(self, data: bytes) -> None:
        """What the client sends."""
        if self._over:
            self._discard(len(data))
            return
        self._dry += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._again is not None:
                self._go_on(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, BadRequest) else BadRequest(400, "this is no HTTP/1.1 request"))
        else:
            if self._dry > MOST_HEAD + MOST_URL and not self._over:
                self._refuse(BadRequest(431 if self.url else 400, "the head is too large"))

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._size = self._hosts = 0
        self._length = None
        self._headed = False
        if self._why == "idle":
            self._wait("head", HEAD_TIME)

    def on_url(self, url: bytes) -> None:
        """A piece of what is asked for."""
        self.url += url
        if len(self.url) > MOST_URL:
            raise BadRequest(414, f"at most {MOST_URL} bytes of a URL are taken")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those after a body are left out."""
        if self._headed:
            return
        self._size += len(name) + len(value)
        if self._size > MOST_HEAD or len(self.headers) >= MOST_HEADERS:
            raise BadRequest(431, f"at most {MOST_HEADERS} headers of {MOST_HEAD} bytes together are taken")
        name = name.lower()
        if name in READ:
            self._read(name, value)
        self.headers.append((name, value))

    def _read(self, name: bytes, value: bytes) -> None:
        """What a header says to the connection itself."""
        if name == b"host":
            self._hosts += 1
            check_host(value)
        elif name == b"content-length":
            self._length = int(value)
        elif value.lower() == b"100-continue":
            self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        """The head is whole: the request goes to the application, or waits for those before it."""
        self._dry = 0
        self._headed = True
        version, method = self.parser.get_http_version(), self.parser.get_method().decode("ascii")
        if self.parser.should_upgrade():
            self._again = without_upgrade(method, self.url, version, self.headers)
            return
        check_version(version, self._hosts)
        if len(self.pipeline) >= MOST_AHEAD:
            raise BadRequest(400, "too many requests at once")
        path, raw, query = target(self.url)
        scope = self.scope
        scope["method"], scope["http_version"] = method, version
        scope["path"], scope["raw_path"], scope["query_string"] = path, raw, query
        app = self.app
        if self._connections.crowded and path not in HEALTH:
            self._connections.count_ended("refused")
            app = _crowded
        exchange = Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue and version == "1.1",
            keep_alive=version == "1.1" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        exchange.length = self._length
        self._connections.busy(self)
        self.cycle = exchange
        if self._serving is None:
            self._serve(exchange, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, app))

    def on_body(self, body: bytes) -> None:
        """A piece of a body, which buys it time."""
        self._dry = 0
        self._paused = 0.0
        exchange = self.cycle
        if exchange is None:
            return
        exchange.received += len(body)
        self._due = min(self._due + len(body) / BODY_RATE, self.loop.time() + BODY_TIME)
        if exchange.response_complete:
            return
        exchange.body += body
        if len(exchange.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        exchange.message_event.set()

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange = self.cycle
        if exchange is None or self._again is not None:
            return
        exchange.more_body = False
        if exchange.response_complete:
            self._rest()
        else:
            self._wait("busy", NEVER)
            exchange.message_event.set()

    def on_response_complete(self) -> None:
        """An answer was given whole."""
        self.server_state.total_requests += 1
        answered, self._serving = self._serving, None
        if answered is None or self.transport.is_closing():
            return
        if answered.unread or (not answered.keep_alive and answered.more_body):
            self._linger()
            return
        if not answered.keep_alive:
            self.transport.close()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._serve(*self.pipeline.pop())
        elif not answered.more_body:
            self._rest()

    def _serve(self, exchange: Any, app: Any) -> None:
        self._serving = exchange
        if exchange.more_body:
            self._wait("body", BODY_TIME)
        self._start_asgi_task(exchange, app)

    def _go_on(self, rest: bytes) -> None:
        """Read the request once more, as one that asks for no upgrade; a parser that met one reads no body."""
        head, self._again = self._again or b"", None
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(head + rest)

    def _wait(self, why: str, seconds: float) -> None:
        self._why = why
        self._due = self.loop.time() + seconds

    def _rest(self) -> None:
        """Between two requests."""
        if not self._over:
            self._wait("idle", IDLE_TIME)
            self._connections.idle(self)

    def _refuse(self, refusal: BadRequest) -> None:
        """Answer, where nothing was answered yet, and end."""
        self._connections.count_ended("malformed")
        serving = self._serving
        if serving is not None and not serving.more_body:  # it is a later request that is refused
            serving.keep_alive = False
            self._over = True
            self.pipeline.clear()
            return
        if serving is not None:
            serving.disconnected = True
            serving.message_event.set()
        if serving is None or not serving.response_started:
            self.transport.write(refusal.answer())
        self._linger()

    def _linger(self) -> None:
        """Say that no more comes, and read on for a moment."""
        self._over = True
        self.flow.resume_reading()
        self.flow.resume_writing()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_TIME, self.transport.abort)
        self._wait("linger", NEVER)

    def _discard(self, count: int) -> None:
        self._lingered += count
        if self._lingered > LINGER_BYTES:
            self.flow.pause_reading()


async def _crowded(scope: Any, receive: Any, send: Any) -> None:
    """There are as many connections as may be, and this is not for a health check."""
    body = to_json({"type": "urn:relais:problem:busy", "status": 503, "title": "the intake has too much in hand"})
    headers = [(b"content-type", b"application/problem+json"), (b"retry-after", b"5"), (b"connection", b"close")]
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
