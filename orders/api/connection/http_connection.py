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
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orders.api.connection.connections import Connections, answer_crowded
from orders.api.connection.deadline import Deadline
from orders.api.connection.exchange import Exchange
from orders.api.connection.head import MOST_HEAD, MOST_URL, BadRequest, Head, without_upgrade

MOST_AHEAD: Final = 16  # requests that wait on one connection for the answer to an earlier one
LINGER_TIME: Final = 2.0  # seconds for a client to notice that its connection ends
LINGER_BYTES: Final = 4 * 1024 * 1024  # bytes that it may still send meanwhile
HEALTH: Final = ("/healthz", "/readyz", "/metrics")


class HttpConnection(HttpToolsProtocol):
    """One connection. uvicorn makes it, with what its other protocols are made with."""

    scope: Any
    cycle: Exchange | None  # type: ignore[assignment]  # the latest that came; those before it are in `pipeline`

    def __init__(self, connections: Connections, **uvicorn: Any) -> None:
        """`connections` are all of the process."""
        super().__init__(**uvicorn)
        self._connections = connections
        self._deadline = Deadline(self.loop.time)
        self._dry = 0  # bytes since the last that was a whole head or of a body
        self._head = Head([])  # of the latest request
        self._lingered = 0
        self._over = False
        self._again: bytes | None = None  # a head that asks for an upgrade, without that
        self._serving: Exchange | None = None  # the one being answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._deadline.wait("silent")
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
        return self._deadline.overdue(now, unwanted=self.flow.read_paused)

    def end(self) -> None:
        """Hang up."""
        self.transport.abort()

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        self._deadline.stuck()

    def resume_writing(self) -> None:
        """The client takes what it is sent."""
        super().resume_writing()
        self._deadline.unstuck()

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
                self._refuse(BadRequest(431 if self._head.url else 400, "the head is too large"))

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head = Head(self.headers)
        if self._deadline.why == "idle":
            self._deadline.wait("head")

    def on_url(self, url: bytes) -> None:
        """A piece of what is asked for."""
        self._head.add_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._head.add(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: the request goes to the application, or waits for those before it."""
        self._dry = 0
        self._head.whole = True
        version, method = self.parser.get_http_version(), self.parser.get_method().decode("ascii")
        if self.parser.should_upgrade():
            self._again = without_upgrade(method, self._head.url, version, self.headers)
            return
        path = self._head.describe(self.scope, method, version)
        if len(self.pipeline) >= MOST_AHEAD:
            raise BadRequest(400, "too many requests at once")
        app = self.app
        if self._connections.crowded and path not in HEALTH:
            self._connections.count_ended("refused")
            app = answer_crowded
        exchange = Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self._head.expects_continue and version == "1.1",
            keep_alive=version == "1.1" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        exchange.length = self._head.length
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
        if (exchange := self.cycle) is not None:
            self._deadline.put_off(len(body))
            exchange.take(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange = self.cycle
        if exchange is None or self._again is not None:
            return
        exchange.more_body = False
        if exchange.response_complete:
            self._rest()
        else:
            self._deadline.wait("busy")
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
            self._deadline.wait("body")
        self._start_asgi_task(exchange, app)

    def _go_on(self, rest: bytes) -> None:
        """Read the request once more, as one that asks for no upgrade; a parser that met one reads no body."""
        head, self._again = self._again or b"", None
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(head + rest)

    def _rest(self) -> None:
        """Between two requests."""
        if not self._over:
            self._deadline.wait("idle")
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
        self.parser = httptools.HttpRequestParser(self)  # the one before may hold most of a header
        self.flow.pause_reading()
        self._connections.linger(self, self.loop)
        self.flow.resume_writing()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_TIME, self.transport.abort)
        self._deadline.wait("linger")

    def read_on(self) -> None:
        """Read one piece more of what nobody wants."""
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _discard(self, count: int) -> None:
        self._lingered += count
        self.flow.pause_reading()
        if self._lingered <= LINGER_BYTES:
            self._connections.linger(self, self.loop)
