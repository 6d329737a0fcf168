"""Measuring plain Celery: enqueue with one or two front ends, drain with prefork or threads; the best counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from statistics import median

from benchmarks.rig import Meter, Rig
from config.embedded.process import module

FRONT_ENDS = (1, 2)
POOLS = {"prefork 2": ("--pool=prefork", "--concurrency=2"), "threads 16": ("--pool=threads", "--concurrency=16")}
SYNCS = ("always", "no")  # Valkey's appendfsync: as Relais runs it, and with nothing on disk
QUIET = ("--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat")


@dataclass(frozen=True)
class Plain:
    """What was measured with one choice (of front ends, of a pool): orders a second, CPU ms an order by process."""

    choice: str
    rate: float
    cpu_ms: dict[str, float]


@dataclass(frozen=True)
class PlainRound:
    """One round: every choice, in and out."""

    orders: int
    intakes: list[Plain]
    drains: list[Plain]


@dataclass(frozen=True)
class Best:
    """Of one direction over all rounds: the choice with the highest median rate, it, and the rates of each choice."""

    choice: str
    rate: float
    rates: dict[str, list[float]]
    cpu_ms: list[dict[str, float]]


def measure(rig: Rig, orders: int, sync: str) -> PlainRound:
    """Fill an empty queue with each number of front ends in turn, and empty it with each pool in turn.

    `sync` is Valkey's `appendfsync` meanwhile.
    """
    intakes, drains = [], []
    with rig.valkey_set("appendfsync", sync):
        for front_ends, pool in zip(FRONT_ENDS, POOLS, strict=True):
            rig.flush()
            rig.sink.reset()
            intakes.append(enqueue(rig, orders, front_ends))
            drains.append(drain(rig, orders, pool))
    return PlainRound(orders, intakes, drains)


def best(rounds: Iterable[list[Plain]]) -> Best:
    """What counts of the intakes, or of the drains, of all rounds."""
    all_of = list(chain.from_iterable(rounds))
    rates: dict[str, list[float]] = {}
    for each in all_of:
        rates.setdefault(each.choice, []).append(each.rate)
    choice = max(rates, key=lambda name: median(rates[name]))
    return Best(choice, median(rates[choice]), rates, [each.cpu_ms for each in all_of if each.choice == choice])


def enqueue(rig: Rig, orders: int, front_ends: int) -> Plain:
    """`front_ends` processes share the orders; from the first `delay` of any to the last of any."""
    argvs = [module("benchmarks.enqueue", *map(str, (orders, part, front_ends))) for part in range(front_ends)]
    meter = Meter(orders, valkey=rig.valkey.pid)
    parts = rig.together(argvs, _environment(rig))
    seconds = max(part["ended"] for part in parts) - min(part["began"] for part in parts)
    used = {"front_ends": sum(part["cpu"] for part in parts) / orders * 1e3, **meter.read()}
    return Plain(f"{front_ends} front end{'s' if front_ends > 1 else ''}", orders / seconds, used)


def drain(rig: Rig, orders: int, pool: str) -> Plain:
    """Start a worker on the full queue; from the first POST to the last, so its start is not counted."""
    argv = module("celery", "-A", "benchmarks.plain", "worker", *POOLS[pool], *QUIET)
    with rig.running("plain-worker", argv, _environment(rig)) as worker:
        rig.sink.await_orders(1)
        meter = Meter(orders, worker=worker.pid, valkey=rig.valkey.pid, sink=rig.sink_pid)
        seen = rig.sink.await_orders(orders, exactly=True)
        used = meter.read()
    return Plain(pool, (orders - 1) / (seen["last"] - seen["first"]), used)


def _environment(rig: Rig) -> dict[str, str]:
    return {"BENCH_BROKER": rig.valkey.url, "BENCH_SINK": rig.sink.url}
