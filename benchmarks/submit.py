"""The front end of Relais: hands orders to its HTTP intake over 64 keep-alive connections, as cheaply as can be,
for it shares the cores with what it measures.

`python -m benchmarks.submit ORDERS WARM PORT [FIRST]` sends the first WARM orders (from number FIRST on), with the
key in BENCH_KEY, says `ready`, waits for a line on stdin, sends the others, and prints when it began and ended
(monotonic seconds), its processor time, the latencies, and every status that was not 202.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator

import uvloop

from benchmarks.sample import body, orders

CONNECTIONS = 64
OK = b"HTTP/1.1 202"


class Front(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.refused: Counter[str] = Counter()
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to ask on."""
        self._transport = transport

    def begin(self, requests: Iterator[bytes]) -> asyncio.Future[None]:
        """Send requests one after the other; the future is done when there are none left."""
        self._requests, self._done = requests, asyncio.get_running_loop().create_future()
        self._ask()
        return self._done

    def data_received(self, data: bytes) -> None:
        """An answer is complete with its closing brace: no head ends with one, and no answer holds another."""
        self._answer += data
        if not self._answer.endswith(b"}"):
            return
        self.times.append(time.monotonic() - self._sent)
        if not self._answer.startswith(OK):
            self.refused[self._answer[9:12].decode()] += 1
        self._answer = b""
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that ends early ends the measurement."""
        if not self._done.done():
            self._done.set_exception(ConnectionError("the intake closed a connection"))

    def _ask(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._done.set_result(None)
            return
        self._sent = time.monotonic()
        self._transport.write(request)  # type: ignore[attr-defined]


async def submit(requests: list[bytes], warm: int, port: int) -> dict[str, object]:
    """Send all requests, the first `warm` of them before the clock runs; what came of them."""
    loop = asyncio.get_running_loop()
    fronts = [(await loop.create_connection(Front, "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]
    await _send(fronts, requests[:warm])
    for front in fronts:
        front.times.clear()
    print("ready", flush=True)
    sys.stdin.readline()
    began, used = time.monotonic(), time.process_time()
    await _send(fronts, requests[warm:])
    ended, used = time.monotonic(), time.process_time() - used
    cuts = statistics.quantiles([time for front in fronts for time in front.times], n=100)
    refused: Counter[str] = sum((front.refused for front in fronts), Counter())
    latency = {"p50_ms": cuts[49] * 1e3, "p99_ms": cuts[98] * 1e3}
    return {"began": began, "ended": ended, "cpu": used, "refused": refused, **latency}


async def _send(fronts: list[Front], requests: list[bytes]) -> None:
    turn = iter(requests)
    await asyncio.gather(*[front.begin(turn) for front in fronts])


def main() -> None:
    """Prebuild the requests and send them."""
    count, warm, port, first = map(int, [*sys.argv[1:], "0"][:4])
    head = (
        f"POST /orders HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {os.environ['BENCH_KEY']}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    ).encode()
    requests = [b"%b%d\r\n\r\n%b" % (head, len(each), each) for each in map(body, orders(count, first))]
    print(json.dumps(uvloop.run(submit(requests, warm, port))), flush=True)


if __name__ == "__main__":
    main()
