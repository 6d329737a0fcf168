"""The ERP of the benchmarks: one process that answers every order at once and remembers when each came.

It speaks Relais's contract and gives plain Celery the very same answer, so an order costs it the same on both
sides: find the head's end, hash the body, list the lines. `python -m benchmarks.sink PORT`.

GET /_marks?every=N   {"posts", "orders", "first", "last", "marks"}: posts seen, different orders among them, and the
                      monotonic times (s) of the first, the last and every N-th order
POST /_reset          forget everything
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
import time
from array import array

import uvloop

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
KEY = re.compile(rb"\r\nidempotency-key: *([^\r]+)", re.IGNORECASE)
LINE = re.compile(rb'"product": ?"(\d+)", ?"quantity": ?(\d+)')
EVERY = re.compile(rb"every=(\d+)")


class Book:
    """What the sink has seen: each order's first answer, and when it came."""

    def __init__(self) -> None:
        self.answers: dict[bytes, bytes] = {}
        self.times = array("d")
        self.posts = 0

    def order(self, key: bytes, body: bytes) -> tuple[bytes, bytes]:
        """Status line and receipt for one order."""
        self.posts += 1
        if (known := self.answers.get(key)) is not None:
            return b"200 OK", known
        self.times.append(time.monotonic())
        answer = self.answers[key] = _receipt(len(self.times), body)
        return b"201 Created", answer

    def find(self, body: bytes) -> bytes:
        """The orders among `ids` that came before, as the contract's `find` tells them."""
        known = [(each, self.answers.get(each.encode())) for each in json.loads(body)["ids"]]
        found = [{"id": each, "state": "accepted", **json.loads(answer)} for each, answer in known if answer]
        return json.dumps({"orders": found}).encode()

    def marks(self, every: int) -> bytes:
        """The control path's answer."""
        times = self.times
        seen = {"posts": self.posts, "orders": len(times), "marks": times[every - 1 :: every].tolist()}
        ends = {"first": times[0], "last": times[-1]} if times else {"first": None, "last": None}
        return json.dumps({**seen, **ends}).encode()


class Sink(asyncio.Protocol):
    """One keep-alive connection; pipelined requests are answered in turn."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        data = self._rest + data if self._rest else data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(data, 0, end)
            stop = end + 4 + (int(length[1]) if length else 0)
            if len(data) < stop:
                break
            status, answer = self._answer(data[: end + 2], data[end + 4 : stop])
            self._transport.write(  # type: ignore[attr-defined]
                b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (status, len(answer), answer)
            )
            data = data[stop:]
        self._rest = data

    def _answer(self, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        if head.startswith(b"POST /orders ") and (key := KEY.search(head)):
            return self._book.order(key[1], body)
        if head.startswith(b"POST /orders/find "):
            return b"200 OK", self._book.find(body)
        if head.startswith(b"GET /_marks"):
            every = EVERY.search(head)
            return b"200 OK", self._book.marks(int(every[1]) if every else sys.maxsize)
        if head.startswith(b"POST /_reset"):
            self._book.__init__()  # type: ignore[misc]
            return b"200 OK", b"{}"
        if head.startswith(b"GET /health"):
            return b"200 OK", b'{"status":"ok"}'
        return b"404 Not Found", b'{"error":"no such path"}'


def _receipt(number: int, body: bytes) -> bytes:
    lines = b",".join(
        b'{"line":%d,"product":"%b","accepted":%b,"reason":null}' % (line, found[1], found[2])
        for line, found in enumerate(LINE.finditer(body), 1)
    )
    digest = hashlib.sha256(body).hexdigest().encode()
    return b'{"reference":"S%d","digest":"%b","lines":[%b]}' % (number, digest, lines)


async def serve(port: int) -> None:
    """Serve on 127.0.0.1 until the process ends."""
    book = Book()
    server = await asyncio.get_running_loop().create_server(lambda: Sink(book), "127.0.0.1", port, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
