"""The ERP of the reconciling benchmark: one process that has orders from a file and tells of them what `find` asks.

`python -m benchmarks.memory_sink PORT FILE`; a line of the file is an order's id, a tab, and its receipt as JSON.

GET /_marks?every=N   {"asked", "first", "last", "marks"}: ids asked for, and the monotonic times (s) of the first
                      question, the last, and every one that brought another N of them
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from pathlib import Path

import uvloop

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
EVERY = re.compile(rb"every=(\d+)")


class Memory:
    """What the ERP has, and when it was asked for how much of it."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as lines:
            pairs = (line.rstrip(b"\n").split(b"\t") for line in lines)
            self._orders = {order_id.decode(): receipt for order_id, receipt in pairs}
        self._asked: list[tuple[float, int]] = []  # when, and how many ids by then

    def find(self, body: bytes) -> bytes:
        """The orders among the ids, as the contract's `find` tells them."""
        ids = json.loads(body)["ids"]
        before = self._asked[-1][1] if self._asked else 0
        self._asked.append((time.monotonic(), before + len(ids)))
        known = [(each, self._orders.get(each)) for each in ids]
        told = [
            b'{"id":"%b","state":"accepted",%b' % (each.encode(), receipt[1:]) for each, receipt in known if receipt
        ]
        return b'{"orders":[%b]}' % b",".join(told)

    def marks(self, every: int) -> bytes:
        """The control path's answer."""
        marks, wanted = [], every
        for when, asked in self._asked:
            while asked >= wanted:
                marks.append(when)
                wanted += every
        ends = {"first": self._asked[0][0], "last": self._asked[-1][0]} if self._asked else {}
        return json.dumps({"asked": self._asked[-1][1] if self._asked else 0, "marks": marks, **ends}).encode()


class Connection(asyncio.Protocol):
    """One keep-alive connection; pipelined requests are answered in turn."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        data = self._rest + data
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
        if head.startswith(b"POST /orders/find "):
            return b"200 OK", self._memory.find(body)
        if head.startswith(b"GET /_marks"):
            every = EVERY.search(head)
            return b"200 OK", self._memory.marks(int(every[1]) if every else sys.maxsize)
        if head.startswith(b"GET /health"):
            return b"200 OK", b'{"status":"ok"}'
        return b"404 Not Found", b'{"error":"no such path"}'


async def serve(port: int, file: Path) -> None:
    """Serve on 127.0.0.1 until the process ends."""
    memory = Memory(file)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(memory), "127.0.0.1", port, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
