"""`make bench-reconcile`: is the last order of 200,000 asked about as fast as the first, and in the same memory?

A journal of delivered orders is filled by SQL; an ERP that has forgotten one in a hundred answers (`memory_sink.py`);
`relais reconcile` asks. Exit 1 when it found anything else than what was forgotten, and with `--strict` when a target
is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import urllib.request
from contextlib import suppress
from typing import Any, Final, NamedTuple

import psutil
from sqlalchemy import text

from benchmarks import delivered, report, watch
from benchmarks.relais import journal
from benchmarks.rig import PATIENCE, BenchmarkFailed, Rig, cpu, memory, prepare
from benchmarks.watch import Sample
from config.embedded.process import Process, module
from config.embedded.ready import answers

STEP: Final = 500  # orders between two times


class Figures(NamedTuple):
    """Orders asked about, seconds, what an order cost by tenth (µs), and what was seen of the process meanwhile."""

    orders: int
    seconds: float
    tenths: list[float]
    samples: list[Sample]


def main() -> None:
    """Measure, print and write."""
    options = _options()
    prepare()
    with report.plainly(), Rig() as rig, report.console.status(f"reconciling {options.orders:,} orders"):
        machine = report.machine(rig)
        done = measure(rig, options.orders)
    figures = summary(done)
    show(figures["reconcile"])
    met = report.verdicts({name: figures[name] for name in ("reconcile_flatness", "reconcile_memory_ratio")})
    report.merge({**figures, "machine_reconcile": machine})
    if options.strict and not met:
        raise SystemExit(1)


def measure(rig: Rig, count: int) -> Figures:
    """Fill a journal and an ERP's memory, reconcile them, and check what was found."""
    told, port = rig.home / "memory.tsv", rig.port()
    with rig.journal() as url:
        asyncio.run(delivered.fill(url, told, count))
        argv, erp = module("benchmarks.memory_sink", str(port), str(told)), f"http://127.0.0.1:{port}"
        with rig.running("memory-sink", argv, ready=answers(f"{erp}/health")):
            env = {"RELAIS_DATABASE_URL": url, "RELAIS_ERP_URL": erp, "RELAIS_DATA_DIR": str(rig.home)}
            asking = module("workers.cli", "reconcile", "--because", "benchmark", "--since", "30d", "--limit", "1")
            with rig.running("reconcile", asking, env) as process:
                taken = _watch(process, rig.postgres.pid, erp, count)
        _check(url, count)
    return taken


def _watch(process: Process, postgres: int, erp: str, count: int) -> Figures:
    """Look at it until it ends, some times a second; the times are those of the ERP."""
    samples: list[Sample] = []
    deadline = time.monotonic() + PATIENCE + count / 200
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise BenchmarkFailed("it does not end")
        with suppress(psutil.Error):  # it has just ended
            if asked := int(_marks(erp, count)["asked"]):
                samples.append(Sample(asked, memory(process.pid), cpu(process.pid) + cpu(postgres)))
        time.sleep(0.1)
    seen = _marks(erp, STEP)
    return Figures(count, seen["last"] - seen["first"], watch.spans(seen["first"], seen["marks"], STEP, 0), samples)


def _marks(erp: str, every: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"{erp}/_marks?every={every}", timeout=10) as answer:
        return dict(json.load(answer))


def _check(url: str, count: int) -> None:
    """BenchmarkFailed unless exactly what was forgotten was found."""

    async def look(engine: Any) -> tuple[Any, ...]:
        async with engine.connect() as connection:
            query = "SELECT state, present, missing, altered + unknown + moved FROM reconciliations"
            return tuple((await connection.execute(text(query))).one())

    forgotten = len(range(0, count, delivered.FORGOTTEN))
    found = journal(url, look)
    if found != ("done", count - forgotten, forgotten, 0):
        raise BenchmarkFailed(f"{count - forgotten} were present and {forgotten} forgotten, and it found {found}")


def summary(done: Figures) -> dict[str, Any]:
    """The keys, and under `reconcile` what they were computed from."""
    held = watch.memory_figures(done.samples)
    used = watch.cpu_tenths(done.samples, 0)
    return {
        "reconcile_flatness": round(done.tenths[-1] / done.tenths[0], 3),
        "reconcile_memory_ratio": round(held["peak"] / held["first_tenth"], 3),
        "reconcile": {
            "orders": done.orders,
            "per_s": round(done.orders / done.seconds, 1),
            "tenths_us": [round(each, 1) for each in done.tenths],
            "tenths_cpu_us": [round(each, 1) for each in used],
            "flatness_cpu": round(used[-1] / used[0], 3),
            "mib": {name: round(each, 1) for name, each in held.items()},
        },
    }


def show(figures: dict[str, Any]) -> None:
    """The table on the screen."""
    title = f"{figures['orders']:,} orders asked about, {figures['per_s']:,.0f}/s"
    table = report.table(title, "µs", "orders/s", "µs of CPU (reconcile, PostgreSQL)")
    for tenth, (wall, used) in enumerate(zip(figures["tenths_us"], figures["tenths_cpu_us"], strict=True), 1):
        table.add_row(f"an order of tenth {tenth}", f"{wall:,.0f}", f"{1e6 / wall:,.0f}", f"{used:,.0f}")
    report.console.print(table)
    held = ", ".join(f"{name.replace('_', ' ')} {each:,.0f}" for name, each in figures["mib"].items())
    report.console.print(f"its memory, MiB: {held}; processor, last tenth / first: {figures['flatness_cpu']:.2f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.reconcile", description=__doc__)
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
