"""`make bench-quick`: Relais beside plain Celery, taking turns, under eight minutes on two cores.

Exit 1 when an order was lost or came twice, and with `--strict` when a target is missed.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from rich.table import Table

from benchmarks import baseline, front, listeners, relais, report, watch
from benchmarks.baseline import SYNCS, Best, PlainRound
from benchmarks.front import Batch
from benchmarks.relais import RelaisRound
from benchmarks.rig import Rig, prepare

Plain = dict[str, list[PlainRound]]  # by Valkey's appendfsync


def main() -> None:
    """Measure, print and write."""
    options = _options()
    prepare()
    with report.plainly(), Rig() as rig:
        machine = report.machine(rig)
        plain, ours, batches = _rounds(rig, options)
        figures = summary(plain, ours, batches)
        figures |= _front(rig, options)
    show(figures)
    listeners.show(figures)
    met = report.verdicts({name: figures[name] for name in report.TARGETS if name in figures})
    report.merge({**figures, "machine": machine})
    if options.strict and not met:
        raise SystemExit(1)


def _front(rig: Rig, options: argparse.Namespace) -> dict[str, Any]:
    """What front ends lean on, each beside the intake without it."""
    with report.console.status(f"a batch of {options.large:,} lines"):
        large = front.measure_batch(rig, options.large)
    with report.console.status("an intake whose Redis is silent"):
        silent = front.measure_silent(rig, options.beside, options.rounds)
    with report.console.status("an intake with idle listeners"):
        listening = listeners.measure(rig, count=2 * options.beside, rounds=options.rounds + 2)
    growth = {
        "lines": options.large,
        "settled_mib": round(large.settled_mib, 1),
        "peak_mib": round(large.peak_mib, 1),
    }
    return (
        {"batch_memory_ratio": round(large.peak_mib / large.settled_mib, 3), "large_batch": growth} | silent | listening
    )


def summary(plain: Plain, ours: list[RelaisRound], batches: list[Batch]) -> dict[str, Any]:
    """The keys, and under `quick` what they were computed from."""
    intake = [each.intake.rate for each in ours]
    drain = [each.drain.rate for each in ours]
    cost = watch.median_tenths([each.drain.tenths(relais.RAMP) for each in ours])
    ratios: dict[str, float] = {}
    theirs: dict[str, Any] = {"orders": plain[SYNCS[0]][0].orders}
    for sync, suffix in zip(SYNCS, ("", "_unsynced"), strict=True):
        enqueued = baseline.best(each.intakes for each in plain[sync])
        drained = baseline.best(each.drains for each in plain[sync])
        ratios[f"intake_ratio{suffix}"] = round(statistics.median(intake) / enqueued.rate, 2)
        ratios[f"drain_ratio{suffix}"] = round(statistics.median(drain) / drained.rate, 2)
        theirs[f"appendfsync_{sync}"] = {"enqueue": _told(enqueued), "drain": _told(drained)}
    enqueued = baseline.best(each.intakes for each in plain[SYNCS[0]])
    ratios["batch_intake_ratio"] = round(statistics.median(each.rate for each in batches) / enqueued.rate, 2)
    return {
        **ratios,
        "backlog_flatness": round(cost[-1] / cost[0], 3),
        "backlog_orders": ours[0].orders,
        "quick": {
            "rounds": len(ours),
            "plain_celery": theirs,
            "relais": {
                "orders": ours[0].orders,
                "intake_per_s": report.spread(intake),
                "intake_p50_ms": report.spread([each.intake.p50_ms for each in ours]),
                "intake_p99_ms": report.spread([each.intake.p99_ms for each in ours]),
                "batch_per_s": report.spread([each.rate for each in batches]),
                "batch_cpu_ms": _medians([each.cpu_ms for each in batches]),
                "intake_cpu_ms": _medians([each.intake.cpu_ms for each in ours]),
                "drain_per_s": report.spread(drain),
                "first_post_after_s": report.spread([each.drain.resumed_after for each in ours]),
                "drain_cpu_ms": _medians([each.drain.cpu_ms for each in ours]),
                "tenths_us": [round(each, 1) for each in cost],
            },
        },
    }


def show(figures: dict[str, Any]) -> None:
    """The table on the screen."""
    plain, ours = figures["quick"]["plain_celery"], figures["quick"]["relais"]
    table = report.table(f"{figures['quick']['rounds']} rounds, taking turns", *report.SPREAD)
    _plain_rows(table, plain, "enqueue")
    report.row(table, "Relais, intake over HTTP", ours["intake_per_s"], "orders/s")
    report.row(table, "Relais, intake, p50", ours["intake_p50_ms"], "ms")
    report.row(table, "Relais, intake, p99", ours["intake_p99_ms"], "ms")
    report.row(table, "Relais, intake of batches", ours["batch_per_s"], "orders/s")
    table.add_section()
    _plain_rows(table, plain, "drain")
    report.row(table, f"Relais, drain of {ours['orders']:,}", ours["drain_per_s"], "orders/s")
    report.console.print(table)
    report.console.print(
        "against a plain Celery whose Valkey puts nothing on disk: "
        f"intake {figures['intake_ratio_unsynced']:.2f}, drain {figures['drain_ratio_unsynced']:.2f}"
    )


def _plain_rows(table: Table, plain: dict[str, Any], direction: str) -> None:
    for sync in SYNCS:
        for choice, rates in plain[f"appendfsync_{sync}"][direction]["per_s"].items():
            report.row(table, f"plain {direction}, fsync {sync}, {choice}", rates, "orders/s")


def _told(best: Best) -> dict[str, Any]:
    rates = {name: report.spread(rates) for name, rates in best.rates.items()}
    return {"counted": best.choice, "per_s": rates, "cpu_ms": _medians(best.cpu_ms)}


def _rounds(rig: Rig, options: argparse.Namespace) -> tuple[Plain, list[RelaisRound], list[Batch]]:
    """Plain Celery, Relais, plain Celery, Relais: a machine that slows down slows both."""
    plain: Plain = {sync: [] for sync in SYNCS}
    ours: list[RelaisRound] = []
    batches: list[Batch] = []
    for number in range(1, options.rounds + 1):
        with report.console.status(f"round {number} of {options.rounds}: plain Celery"):
            for sync in SYNCS:
                plain[sync].append(baseline.measure(rig, options.plain_orders, sync))
        with report.console.status(f"round {number} of {options.rounds}: Relais"):
            ours.append(relais.measure(rig, options.orders))
            batches.append(front.measure_batch(rig, options.lines))
        theirs = max(each.rate for each in plain[SYNCS[0]][-1].drains)
        report.console.print(f"round {number}: drains {theirs:,.0f}/s and {ours[-1].drain.rate:,.0f}/s")
    return plain, ours, batches


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each process over the rounds."""
    return {name: round(statistics.median(each[name] for each in rounds), 3) for name in rounds[0]}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.quick", description=__doc__)
    parser.add_argument("--orders", type=int, default=20_000, help="that Relais takes in and drains, each round")
    parser.add_argument("--plain-orders", type=int, default=1_200, help="the first of them, for plain Celery")
    parser.add_argument("--lines", type=int, default=40_000, help="of a batch, each round")
    parser.add_argument("--large", type=int, default=200_000, help="lines of the batch whose memory is watched")
    parser.add_argument("--beside", type=int, default=6_000, help="orders whose p99 is taken with and without")
    parser.add_argument("--rounds", type=int, default=3, help="of each")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    return parser.parse_args()


if __name__ == "__main__":
    main()
