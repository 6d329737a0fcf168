"""One request and its answer on a connection, as ASGI sees them; it writes what RFC 9112 asks of a server.

An HTTP/1.0 client gets no chunks, a final answer before the end of a body says that the connection ends, and who
waits for `100 Continue` has it before any answer that begins while lines are still to come, and that answer only once
the first have come: a proxy takes a final status that is there before any of the body for the end of the request.
"""

from __future__ import annotations

from typing import Any, Final

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
DRAINED: Final = 64 * 1024  # bytes of a body that nobody wants which are read all the same, to keep the connection
BODILESS: Final = {204, 304}


class Exchange(RequestResponseCycle):
    """A request, as it comes, and the answer, as it goes."""

    length: int | None = None  # of the body in bytes; None for one in chunks
    received = 0  # bytes of it

    @property
    def unread(self) -> bool:
        """Whether more of the body is to come than is worth reading for nothing."""
        return self.more_body and (self.length is None or self.length - self.received > DRAINED)

    def take(self, piece: bytes) -> None:
        """A piece of the body; nothing more is read while too much of it waits for the application."""
        self.received += len(piece)
        if self.response_complete:
            return
        self.body += piece
        if len(self.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.message_event.set()

    async def send(self, message: Any) -> None:
        """ASGI's send."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError(f"{message['type']} after the end of the answer")
        if not self.response_started:
            headers = [*self.default_headers, *message.get("headers", ())]
            if self.waiting_for_100_continue and not self._whole(message["status"], headers):
                await self._let_go_on()
                if self.disconnected:
                    return
            self._begin(message["status"], headers)
        else:
            self._write(message.get("body", b""), more=message.get("more_body", False))

    async def _let_go_on(self) -> None:
        """Tell the client to go on, and wait until it does."""
        self.waiting_for_100_continue = False
        self.transport.write(CONTINUE)
        while self.more_body and not self.received and not self.disconnected:
            await self.message_event.wait()

    def _whole(self, status: int, headers: list[tuple[bytes, bytes]]) -> bool:
        known = any(name == b"content-length" for name, _ in headers)
        return known or status in BODILESS or self.scope["method"] == "HEAD"

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        lines, length = [STATUS_LINE[status]], None
        for name, value in headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                self.keep_alive = self.keep_alive and value != b"close"
                continue
            lines += (name, b": ", value, b"\r\n")
        head = b"".join(lines)
        if head.count(b"\r") != head.count(b"\r\n") or head.count(b"\n") != len(lines) // 4 + 1 or b"\0" in head:
            raise RuntimeError("a header's value holds a line break")
        whole = length is not None or status in BODILESS or self.scope["method"] == "HEAD"
        if self.more_body and whole and (self.unread or self.waiting_for_100_continue):
            self.keep_alive = False
        self.waiting_for_100_continue = False
        self.chunked_encoding = not whole and self.scope["http_version"] != "1.0"
        self.expected_content_length = -1 if length is None or self.scope["method"] == "HEAD" else length
        if self.chunked_encoding:
            head += b"transfer-encoding: chunked\r\n"
        if not self.keep_alive:
            head += b"connection: close\r\n"
        self.transport.write(head + b"\r\n")

    def _write(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            body = b""
        if self.chunked_encoding:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self.transport.write(chunk if more else chunk + b"0\r\n\r\n")
        elif body:
            self.transport.write(body)
        if self.expected_content_length >= 0:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("the answer is not as long as it says")
        if not more:
            self.response_complete = True
            self.message_event.set()
            self.on_response()
