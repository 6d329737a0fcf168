"""`make bench-backlog`: does an order cost more, or the worker hold more, because 200,000 others wait?

Exit 1 when an order was lost or came twice, and with `--strict` when a target is missed.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import relais, report, watch
from benchmarks.relais import RelaisRound
from benchmarks.rig import Rig, prepare


def main() -> None:
    """Measure, print and write."""
    options = _options()
    prepare()
    with report.plainly(), Rig() as rig, report.console.status(f"taking in and draining {options.orders:,} orders"):
        machine = report.machine(rig)
        done = relais.measure(rig, options.orders)
    figures = summary(done)
    show(figures["backlog"])
    met = report.verdicts({"backlog_flatness": figures["backlog_flatness"]})
    report.merge({**figures, "machine_backlog": machine})
    if options.strict and not met:
        raise SystemExit(1)


def summary(done: RelaisRound) -> dict[str, Any]:
    """The key, and under `backlog` what it was computed from."""
    cost = done.drain.tenths(relais.RAMP)
    cpu = watch.cpu_tenths(done.drain.samples, relais.RAMP)
    return {
        "backlog_flatness": round(cost[-1] / cost[0], 3),
        "backlog_orders": done.orders,
        "backlog": {
            "orders": done.orders,
            "intake_per_s": round(done.intake.rate, 1),
            "drain_per_s": round(done.drain.rate, 1),
            "drain_cpu_ms": {name: round(each, 3) for name, each in done.drain.cpu_ms.items()},
            "tenths_us": [round(each, 1) for each in cost],
            "tenths_cpu_us": [round(each, 1) for each in cpu],
            "flatness_cpu": round(cpu[-1] / cpu[0], 3),
            "worker_mib": {name: round(each, 1) for name, each in watch.memory_figures(done.drain.samples).items()},
        },
    }


def show(figures: dict[str, Any]) -> None:
    """The table on the screen."""
    title = f"{figures['orders']:,} orders: in {figures['intake_per_s']:,.0f}/s, out {figures['drain_per_s']:,.0f}/s"
    table = report.table(title, "µs", "µs of CPU (worker, PostgreSQL)")
    for tenth, (wall, cpu) in enumerate(zip(figures["tenths_us"], figures["tenths_cpu_us"], strict=True), 1):
        table.add_row(f"an order of tenth {tenth}", f"{wall:,.0f}", f"{cpu:,.0f}")
    report.console.print(table)
    held = ", ".join(f"{name.replace('_', ' ')} {each:,.0f}" for name, each in figures["worker_mib"].items())
    report.console.print(f"worker's memory, MiB: {held}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.backlog", description=__doc__)
    parser.add_argument("--orders", type=int, default=200_000)
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
