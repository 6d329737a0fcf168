"""The front end of Relais's batch intake: one POST /orders/batch over one connection, as cheaply as can be.

`python -m benchmarks.upload ORDERS PORT` makes the body, with the key in BENCH_KEY, says `ready`, waits for a line
on stdin, sends it while it reads the answers, and prints when it began and ended (monotonic seconds), its processor
time, how many lines were accepted and how many were answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import uvloop

from benchmarks.sample import body, orders

CHUNK = 64 * 1024  # bytes
END = b"\r\n0\r\n\r\n"


class Upload(asyncio.Protocol):
    """Sends as fast as the intake reads, and counts the answers."""

    def __init__(self, request: memoryview) -> None:
        self.accepted = self.answered = 0
        self.done = asyncio.get_running_loop().create_future()
        self._request, self._sent, self._rest = request, 0, b""
        self._last = b""
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def pause_writing(self) -> None:
        """The intake is behind."""
        self._paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._paused = False
        self._send()

    def data_received(self, data: bytes) -> None:
        """Answers, and at last the chunk that ends them."""
        whole, _, self._rest = (self._rest + data).rpartition(b"\n")
        self.accepted += whole.count(b'"accepted"')
        self.answered += whole.count(b'{"line":')
        self._last = (self._last + data)[-len(END) :]
        if self._last == END and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that ends early ends the measurement."""
        if not self.done.done():
            self.done.set_exception(ConnectionError("the intake closed the connection"))

    def _send(self) -> None:
        while self._sent < len(self._request) and not self._paused:
            self._transport.write(self._request[self._sent : self._sent + CHUNK])
            self._sent += CHUNK


async def upload(request: bytes, port: int) -> dict[str, object]:
    """Send it all; what came of it."""
    print("ready", flush=True)
    sys.stdin.readline()
    began, used = time.monotonic(), time.process_time()
    transport, protocol = await asyncio.get_running_loop().create_connection(
        lambda: Upload(memoryview(request)), "127.0.0.1", port
    )
    await protocol.done
    ended, used = time.monotonic(), time.process_time() - used
    transport.close()
    return {
        "began": began,
        "ended": ended,
        "cpu": used,
        "accepted": protocol.accepted,
        "answered": protocol.answered,
    }


def main() -> None:
    """Make the body and send it."""
    count, port = map(int, sys.argv[1:])
    lines = b"".join(b"%b\n" % body(order) for order in orders(count))
    head = (
        f"POST /orders/batch HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/x-ndjson\r\n"
        f"Authorization: Bearer {os.environ['BENCH_KEY']}\r\nContent-Length: {len(lines)}\r\n\r\n"
    ).encode()
    print(json.dumps(uvloop.run(upload(head + lines, port))), flush=True)


if __name__ == "__main__":
    main()
