"""Measuring what front ends lean on: batches, the intake's memory meanwhile, and an intake whose Redis is silent.

A silent Redis is the worst kind: it takes connections and never answers. The client has a rate, so that there is a
count in Redis to be kept, and the intake a spill, which a journal that is there never needs.
"""

from __future__ import annotations

import os
import signal
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import report
from benchmarks.relais import WARM, journal
from benchmarks.rig import BenchmarkFailed, Meter, Rig, memory
from config.embedded.process import Process, module
from config.embedded.ready import answers
from orders.access import clients

RATE = 1_000_000.0  # orders a second: a limit that nobody meets
SETTLED = 0.2  # share of a large batch, after which the intake's memory is to stay as it is
PAUSE = 0.1  # seconds between two looks at it


@dataclass(frozen=True)
class Batch:
    """Lines a second, MiB of the intake when it had settled and at most, processor time for each line (ms)."""

    rate: float
    settled_mib: float
    peak_mib: float
    cpu_ms: dict[str, float]


def measure_batch(rig: Rig, lines: int) -> Batch:
    """One POST /orders/batch of so many lines. BenchmarkFailed unless every line is accepted."""
    with intake(rig) as (api, port, key), watched(api) as seen:
        meter = Meter(lines, api=api.pid, postgres=rig.postgres.pid)
        (sent,) = rig.together([module("benchmarks.upload", str(lines), str(port))], {"BENCH_KEY": key})
        used = {"front_end": sent["cpu"] / lines * 1e3, **meter.read()}
    if (sent["accepted"], sent["answered"]) != (lines, lines):
        raise BenchmarkFailed(f"{sent['accepted']} accepted and {sent['answered']} answered of {lines} lines")
    settled = seen[int(len(seen) * SETTLED)]
    return Batch(lines / (sent["ended"] - sent["began"]), settled, max(seen), used)


def measure_silent(rig: Rig, count: int, rounds: int) -> dict[str, Any]:
    """The p99 (ms) of the intake's answers while Redis answers and while it is frozen, taking turns."""
    p99: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds):
        with intake(rig) as (_, port, key):
            for turn, silent in enumerate((False, True) if number % 2 == 0 else (True, False)):
                p99[silent].append(_p99(rig, port, key, count, turn * count, silent))
    ratio = statistics.median(p99[True]) / statistics.median(p99[False])
    return {
        "intake_p99_redis_silent_ratio": round(ratio, 3),
        "silent": {
            "orders": count,
            "p99_ms": report.spread(p99[False]),
            "p99_silent_ms": report.spread(p99[True]),
        },
    }


def _p99(rig: Rig, port: int, key: str, count: int, first: int, silent: bool) -> float:
    sender = module("benchmarks.submit", str(count), str(WARM), str(port), str(first))
    with _frozen(rig.valkey.pid) if silent else _nothing():
        (sent,) = rig.together([sender], {"BENCH_KEY": key})
    if sent["refused"]:
        raise BenchmarkFailed(f"the intake answered other than 202: {sent['refused']}")
    return float(sent["p99_ms"])


@contextmanager
def intake(rig: Rig, *others: str) -> Iterator[tuple[Any, ...]]:
    """An intake with a spill and a client with a rate, and others, on a journal of its own: process, port, keys."""
    port = rig.port()
    with rig.journal() as url:
        key = journal(url, lambda engine: clients.add(engine, "bench", rate=RATE, burst=int(RATE)))
        keys = [str(journal(url, lambda engine, name=other: clients.add(engine, name))) for other in others]
        env = {
            "RELAIS_DATABASE_URL": url,
            "RELAIS_REDIS_URL": rig.valkey.url,
            "RELAIS_DATA_DIR": str(rig.home),
            "RELAIS_SPILL_KEY": "shared by intake and workers",
            "RELAIS_LOG_LEVEL": "ERROR",
        }
        argv = module("workers.cli", "api", "--port", str(port))
        with rig.running("api", argv, env, answers(f"http://127.0.0.1:{port}/readyz")) as api:
            yield api, port, str(key), *keys


@contextmanager
def watched(process: Process) -> Iterator[list[float]]:
    """MiB of the process, looked at again and again."""
    seen, over = [memory(process.pid)], threading.Event()

    def look() -> None:
        while not over.wait(PAUSE):
            seen.append(memory(process.pid))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@contextmanager
def _frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _nothing() -> Iterator[None]:
    yield
