"""What open consoles cost the intake: the p99 of orders beside 100 browsers that watch the overview.

One console process runs in both cases, on the intake's own journal; the browsers read what they are sent.
"""

from __future__ import annotations

import socket
import statistics
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import report
from benchmarks.relais import WARM, journal
from benchmarks.rig import PATIENCE, BenchmarkFailed, Meter, Rig, prepare
from config.embedded.process import module
from config.embedded.ready import answers
from config.settings import Settings
from orders.access import clients
from workers.console.access.sessions import COOKIE, Sessions

ACCOUNT: Final = text("INSERT INTO accounts (name, role) VALUES (:name, 'viewer')")


def measure(rig: Rig, consoles: int = 100, count: int = 8_000, rounds: int = 5) -> dict[str, Any]:
    """The figures, from `rounds` measurements of `count` orders without and with the consoles, taking turns."""
    without, beside = [], []
    for number in range(rounds):
        for many in (0, consoles) if number % 2 == 0 else (consoles, 0):
            (beside if many else without).append(_round(rig, many, count))
    ratio = statistics.median(each["p99_ms"] for each in beside) / statistics.median(each["p99_ms"] for each in without)
    names = ("p50_ms", "p99_ms", "console_cpu_ms")
    return {
        "console_intake_p99_ratio": round(ratio, 3),
        "console_watchers": {
            "consoles": consoles,
            "orders": count,
            **{name: report.spread([each[name] for each in beside]) for name in names},
            **{f"{name}_without": report.spread([each[name] for each in without]) for name in names},
        },
    }


def _round(rig: Rig, consoles: int, count: int) -> dict[str, float]:
    ports = rig.port(), rig.port()
    with rig.journal() as url, ExitStack() as stack:
        key = journal(url, lambda engine: clients.add(engine, "bench"))
        env = {"RELAIS_DATABASE_URL": url, "RELAIS_DATA_DIR": str(rig.home), "RELAIS_LOG_LEVEL": "WARNING"}
        env["RELAIS_API_URL"] = f"http://127.0.0.1:{ports[0]}"
        pids = []
        for name, port, path in (("api", ports[0], "readyz"), ("console", ports[1], "healthz")):
            argv = module("workers.cli", name, "--port", str(port))
            ready = answers(f"http://127.0.0.1:{port}/{path}")
            pids.append(stack.enter_context(rig.running(name, argv, env, ready)).pid)
        tokens = journal(url, partial(_tokens, count=consoles))
        watching = stack.enter_context(_watching(ports[1], tokens))
        sender = module("benchmarks.submit", str(count), str(WARM), str(ports[0]))
        meter = Meter(count, console=pids[1])
        (sent,) = rig.together([sender], {"BENCH_KEY": key})
        if sent["refused"] or not all(each.is_alive() for each in watching):
            raise BenchmarkFailed(f"orders were refused ({sent['refused']}), or a console's stream has ended")
        return {"p50_ms": sent["p50_ms"], "p99_ms": sent["p99_ms"], "console_cpu_ms": meter.read()["console"]}


async def _tokens(engine: AsyncEngine, count: int) -> list[str]:
    """Of as many people's sessions."""
    sessions = Sessions(engine, Settings(_env_file=None))
    names = [f"bench{number}" for number in range(count)]
    async with engine.connect() as connection:
        for name in names:
            await connection.execute(ACCOUNT, {"name": name})
    return [await sessions.begin(name) for name in names]


@contextmanager
def _watching(port: int, tokens: list[str]) -> Iterator[list[threading.Thread]]:
    """Browsers whose streams have begun, each read by a thread until its connection ends."""
    with ExitStack() as stack:
        threads = []
        for token in tokens:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE))
            headers = f"Host: x\r\nCookie: {COOKIE}={token}\r\nAccept-Language: en\r\n\r\n"
            request = f"GET /live/overview HTTP/1.1\r\n{headers}"
            connection.sendall(request.encode())
            if b" 200 " not in (head := connection.recv(65536)):
                raise BenchmarkFailed(f"a console's stream did not begin: {head[:300]!r}")
            threads.append(threading.Thread(target=_read, args=(connection,), daemon=True))
            threads[-1].start()
        yield threads


def _read(connection: socket.socket) -> None:
    try:
        while connection.recv(65536):
            pass
    except OSError:
        return


def main() -> None:
    """Measure and print."""
    prepare()
    with report.plainly(), Rig() as rig:
        figures = measure(rig)
    report.verdicts({"console_intake_p99_ratio": figures["console_intake_p99_ratio"]})
    report.console.print(figures["console_watchers"])


if __name__ == "__main__":
    main()
