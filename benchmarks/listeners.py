"""What listeners cost: memory and processor time of the intake, and the p99 of the orders that come beside them.

`python -m benchmarks.listeners` measures an intake without listeners and one with 1,000 idle ones, taking turns, each
on a journal of its own. A listener is a connection that nobody reads once its stream has begun, so that it costs this
side nothing; every one is looked at again when the orders are in.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import statistics
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import report
from benchmarks.relais import WARM, journal
from benchmarks.rig import PATIENCE, BenchmarkFailed, Meter, Rig, cpu, memory, prepare
from benchmarks.sample import body, orders
from config.embedded.process import module
from config.embedded.ready import answers
from orders.access import clients

IDLE = 5.0  # seconds for which nothing happens but comments
BATCH = 1_000  # orders that are listened to, and warm the intake up


@dataclass(frozen=True)
class Round:
    """Of the intake: memory before and with listeners (MiB), processor time (ms a second, an order), latencies."""

    before_mib: float
    with_mib: float
    idle_cpu: float
    order_cpu: float
    p50_ms: float
    p99_ms: float


def measure(rig: Rig, listeners: int = 1_000, count: int = 8_000, rounds: int = 3) -> dict[str, Any]:
    """The figures, from `rounds` measurements of `count` orders without and with the listeners, taking turns."""
    without, beside = [], []
    for number in range(rounds):
        # Who goes first changes, for a machine that warms up or slows down does so for both.
        for many in (0, listeners) if number % 2 == 0 else (listeners, 0):
            (beside if many else without).append(_round(rig, many, count))
    ratio = statistics.median(each.p99_ms for each in beside) / statistics.median(each.p99_ms for each in without)
    grown = [each.with_mib - each.before_mib for each in beside]
    return {
        "sse_listeners_mib": round(statistics.median(grown), 1),
        "sse_intake_p99_ratio": round(ratio, 3),
        "sse": {
            "listeners": listeners,
            "orders": count,
            "before_mib": report.spread([each.before_mib for each in beside]),
            "grown_mib": report.spread(grown),
            "idle_cpu_ms_per_s": report.spread([each.idle_cpu for each in beside]),
            "idle_cpu_ms_per_s_without": report.spread([each.idle_cpu for each in without]),
            "order_cpu_ms": report.spread([each.order_cpu for each in beside]),
            "order_cpu_ms_without": report.spread([each.order_cpu for each in without]),
            "p50_ms": report.spread([each.p50_ms for each in beside]),
            "p50_ms_without": report.spread([each.p50_ms for each in without]),
            "p99_ms": report.spread([each.p99_ms for each in beside]),
            "p99_ms_without": report.spread([each.p99_ms for each in without]),
        },
    }


def _round(rig: Rig, listeners: int, count: int) -> Round:
    port = rig.port()
    ready = answers(f"http://127.0.0.1:{port}/readyz")
    with rig.journal() as url:
        key = journal(url, lambda engine: clients.add(engine, "bench"))
        environment = {"RELAIS_DATABASE_URL": url, "RELAIS_DATA_DIR": str(rig.home), "RELAIS_LOG_LEVEL": "WARNING"}
        argv = module("workers.cli", "api", "--port", str(port))
        with rig.running("api", argv, environment, ready) as api:
            ids = _hand_over(port, key)
            before = memory(api.pid)
            with _listening(port, key, [ids[number % BATCH] for number in range(listeners)]) as connections:
                used = cpu(api.pid)
                time.sleep(IDLE)
                used, grown = cpu(api.pid) - used, memory(api.pid)
                sender = module("benchmarks.submit", str(count), str(WARM), str(port))
                meter = Meter(count, api=api.pid)
                (sent,) = rig.together([sender], {"BENCH_KEY": key})
                busy = meter.read()["api"]
                _check(sent, connections)
    return Round(before, grown, used / IDLE * 1e3, busy, sent["p50_ms"], sent["p99_ms"])


def _hand_over(port: int, key: str) -> list[str]:
    """The ids of orders that nothing will happen to; they are none of those that are measured."""
    lines = b"\n".join(body({**order, "reference": f"L{order['reference']}"}) for order in orders(BATCH))
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/orders/batch", lines, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return [json.loads(line)["id"] for line in answer]


@contextmanager
def _listening(port: int, key: str, ids: list[str]) -> Iterator[list[socket.socket]]:
    """Connections on each of which a stream has begun."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < len(ids) + 256:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(ids) + 256, hard))
    with ExitStack() as stack:
        connections = []
        for each in ids:
            connections.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE)))
            request = f"GET /orders/{each}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
            connections[-1].sendall(request.encode())
        for connection in connections:
            _await_first(connection)
        yield connections


def _await_first(connection: socket.socket) -> None:
    heard = b""
    while b"event: accepted" not in heard:
        more = connection.recv(4096)
        if not more:
            raise BenchmarkFailed(f"a stream did not begin: {heard[:300]!r}")
        heard += more


def _check(sent: dict[str, Any], connections: list[socket.socket]) -> None:
    """Every order was taken, and nobody's stream has ended."""
    if sent["refused"]:
        raise BenchmarkFailed(f"the intake answered other than 202: {sent['refused']}")
    for connection in connections:
        connection.setblocking(False)
        try:
            ended = connection.recv(4096).endswith(b"0\r\n\r\n")
        except BlockingIOError:
            continue
        if ended:
            raise BenchmarkFailed("a stream ended")


def show(figures: dict[str, Any]) -> None:
    """The table on the screen."""
    found = figures["sse"]
    table = report.table(f"{found['listeners']:,} idle listeners, {found['orders']:,} orders", *report.SPREAD)
    report.row(table, "memory of the intake before", found["before_mib"], "MiB")
    report.row(table, "memory for the listeners", found["grown_mib"], "MiB")
    report.row(table, "processor time, idle, without", found["idle_cpu_ms_per_s_without"], "ms/s")
    report.row(table, "processor time, idle, with", found["idle_cpu_ms_per_s"], "ms/s")
    report.row(table, "processor time of an order without", found["order_cpu_ms_without"], "ms")
    report.row(table, "processor time of an order with", found["order_cpu_ms"], "ms")
    report.row(table, "p99 of orders without", found["p99_ms_without"], "ms")
    report.row(table, "p99 of orders with", found["p99_ms"], "ms")
    report.console.print(table)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="benchmarks.listeners", description=__doc__)
    parser.add_argument("--listeners", type=int, default=1_000)
    parser.add_argument("--orders", type=int, default=8_000, help="in each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    prepare()
    with report.plainly(), Rig() as rig:
        figures = measure(rig, options.listeners, options.orders, options.rounds)
        show(figures)
        for name in ("sse_listeners_mib", "sse_intake_p99_ratio"):
            report.console.print(f"{name} {figures[name]}")
        report.merge({**figures, "machine": report.machine(rig)})


if __name__ == "__main__":
    main()
