"""What one key, or one address without any, can do to another client: the p99 of its orders beside each kind of worst.

`python -m benchmarks.worst [NAME …]` starts an intake, takes the p99 of a calm client's orders alone, then beside each
worst in turn, with its ratio, what was answered other than 202, and the intake's memory at most. Callers are processes
of their own, bounded in number and in seconds; the calm client and they share the machine's cores. `--apart` gives the
callers the last core alone, and everything else the others, alone and beside: what they do to others is then the
intake's doing and not the machine's. `a busy core` is a caller that asks nothing and takes a core.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from benchmarks import report
from benchmarks.front import intake, watched
from benchmarks.rig import Rig
from benchmarks.sample import body, orders

MIB = 1024 * 1024
WARM = 100  # orders before anything is measured
SETTLE = 3.0  # seconds until a worst is at its worst


class Worst(NamedTuple):
    """So many connections that each send `request(key)`, and again after each answer unless they only wait."""

    connections: int
    request: Callable[[str], bytes]
    again: bool = True
    reads: bool = True


def _head(method: str, path: str, key: str, *more: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", *more, "", ""]).encode()


def _post(path: str, content: bytes) -> Callable[[str], bytes]:
    return lambda key: _head("POST", path, key, f"Content-Length: {len(content)}") + content


def _filled(start: bytes, piece: bytes, end: bytes, size: int = MIB) -> bytes:
    return start + piece * ((size - len(start) - len(end)) // len(piece)) + end


LINES = _filled(b'{"lines":[', b"{},", b"{}]}")
NAMES = b"<a>" + b"".join(b"<n%d/>" % number for number in range(9_000)) + b"</a>"
BUSY = "a busy core"
NESTED = _filled(b'{"lines":[', b"[" * 32 + b"]" * 32 + b",", b"[]]}")
WORST: dict[str, Worst] = {
    BUSY: Worst(0, lambda key: b""),
    "silent connections": Worst(6_100, lambda key: b"", again=False),
    "endless headers": Worst(50, lambda key: b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * MIB),
    "orders without a key": Worst(300, lambda key: _post("/orders", b"{}")("none")),
    "silent batches": Worst(172, lambda key: _head("POST", "/orders/batch", key, "Content-Length: 9"), again=False),
    "silent orders": Worst(2_100, lambda key: _head("POST", "/orders", key, "Content-Length: 300") + b"{", again=False),
    "lists": Worst(300, lambda key: _head("GET", "/orders?limit=500", key)),
    "event streams": Worst(
        2_600, lambda key: _head("GET", f"/orders/{os.environ['BENCH_ORDER']}/events", key), again=False
    ),
    "orders that are none": Worst(300, _post("/orders", b"{}")),
    "empty lines, 1 MiB": Worst(20, _post("/orders", LINES)),
    "junk batches, 1 MiB, unread": Worst(20, _post("/orders/batch", b"x\n" * (MIB // 2)), again=False, reads=False),
    "lists in lists, 1 MiB": Worst(20, _post("/orders", NESTED)),
    "XML names": Worst(20, _post("/pharmaml", NAMES)),
    "the same order": Worst(300, _post("/orders", body(next(iter(orders(1)))))),
}


async def _caller(worst: Worst, port: int, key: str, until: float) -> None:
    while time.monotonic() < until:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 * MIB)
            try:
                await _talk(worst, reader, writer, key, until)
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.1)


async def _talk(
    worst: Worst, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str, until: float
) -> None:
    if not worst.reads:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    while time.monotonic() < until:
        async with asyncio.timeout(max(0.1, until - time.monotonic())):
            writer.write(worst.request(key))
            await writer.drain()
            if not worst.again:
                await asyncio.sleep(until - time.monotonic())
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(size)


async def _attack(name: str, port: int, key: str, seconds: float) -> None:
    until = time.monotonic() + seconds
    while name == BUSY and time.monotonic() < until:
        pass
    os.environ["BENCH_ORDER"] = _taken(port, key)
    await asyncio.gather(*(_caller(WORST[name], port, key, until) for _ in range(WORST[name].connections)))


def _taken(port: int, key: str) -> str:
    """The id of an order of this key's own, which is taken in once."""
    order = {"pharmacy": "990000002", "reference": "worst", "lines": [{"product": "3400937318044", "quantity": 1}]}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/orders", json.dumps(order), {"Authorization": f"Bearer {key}"})
    return str(json.load(connection.getresponse())["id"])


@contextmanager
def _beside(name: str, port: int, key: str, seconds: float, cores: set[int]) -> Iterator[None]:
    argv = [sys.executable, "-m", "benchmarks.worst", "--port", str(port), "--seconds", str(seconds), name]
    with subprocess.Popen(argv, env={**os.environ, "BENCH_KEY": key}) as attack:
        os.sched_setaffinity(attack.pid, cores)
        time.sleep(SETTLE)
        try:
            yield
        finally:
            attack.kill()


class Calm:
    """A client that hands over one order after the other on one connection."""

    def __init__(self, port: int, key: str) -> None:
        self._address, self._key = port, key
        self._orders = iter(orders(100_000))
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(self, most: int, seconds: float) -> tuple[list[float], Counter[str]]:
        """Milliseconds of each order, and what was answered other than 202 by the journal."""
        times, other, until = [], Counter[str](), time.monotonic() + seconds
        while len(times) < most and time.monotonic() < until:
            began = time.monotonic()
            try:
                self._connection.request(
                    "POST", "/orders", body(next(self._orders)), {"Authorization": f"Bearer {self._key}"}
                )
                answer = self._connection.getresponse()
                said = answer.read()
                if answer.status != 202 or b'"journal"' not in said:
                    other[str(answer.status)] += 1
            except OSError as error:
                other[type(error).__name__] += 1
                self._connection.close()
            times.append((time.monotonic() - began) * 1e3)
        return times, other


def _p99(times: list[float]) -> float:
    return sorted(times)[max(0, int(len(times) * 0.99) - 1)]


@contextmanager
def _apart(apart: bool) -> Iterator[set[int]]:
    """The cores of the callers; within, this process and what it starts keep off them when they are to be `apart`."""
    cores = os.sched_getaffinity(0)
    callers = {max(cores)} if apart else cores
    os.sched_setaffinity(0, cores - callers or cores)
    try:
        yield callers
    finally:
        os.sched_setaffinity(0, cores)


def measure(names: list[str], most: int, seconds: float, rounds: int, apart: bool = False) -> dict[str, Any]:
    """Of each, over so many rounds of alone and beside: medians of p50 and p99 (ms), the ratio of the p99s, other
    answers, and the intake's memory at most (MiB).
    """
    found: dict[str, Any] = {}
    with report.plainly(), _apart(apart) as cores, Rig() as rig, intake(rig, "wild") as (api, port, calm, wild):
        client = Calm(port, calm)
        client.send(WARM, seconds)
        for name in names:
            seen, other, p50, p99, alone = 0.0, Counter[str](), [], [], []
            for _ in range(rounds):
                alone.append(_p99(client.send(most, seconds)[0]))
                with watched(api) as memory, _beside(name, port, wild, SETTLE + seconds + 5, cores):
                    times, others = client.send(most, seconds)
                seen, other = max(seen, *memory), other + others
                p50.append(statistics.median(times))
                p99.append(_p99(times))
            found[name] = {
                "p50_ms": round(statistics.median(p50), 1),
                "p99_ms": report.spread(p99),
                "p99_alone_ms": report.spread(alone),
                "ratio": round(statistics.median(p99) / statistics.median(alone), 2),
                "other": dict(other),
                "peak_mib": round(seen),
            }
            print(name, json.dumps(found[name]), flush=True)
    return found


def main() -> None:
    """Measure, or be the worst."""
    parser = argparse.ArgumentParser(prog="benchmarks.worst", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", default=[*WORST])
    parser.add_argument("--orders", type=int, default=1_500, help="of the calm client, at most, in each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--apart", action="store_true", help="give the callers a core of their own")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement, at most")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    if options.port is None:
        found = measure(options.names, options.orders, options.seconds, options.rounds, options.apart)
        report.merge({"worst_apart" if options.apart else "worst": found})
    else:
        asyncio.run(_attack(options.names[0], options.port, os.environ["BENCH_KEY"], options.seconds))


if __name__ == "__main__":
    main()
