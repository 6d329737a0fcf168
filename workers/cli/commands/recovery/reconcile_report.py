"""What `relais reconcile` tells: a run with its differences, the runs that there were, and what `--resend` puts back.

That is shown first; then it asks, and puts it back in the backlog, with a bar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from workers.cli import show
from workers.cli.failure import INTERRUPTED
from workers.cli.session import confirm, on_journal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from workers.reconcile.runs import Reconciliation

SAMPLE = ("id", "pharmacy", "reference", "accepted_at", "settled_at", "valid_until")
RUNS = 20  # shown
COUNTS = ("present", "altered", "missing", "unknown", "foreign", "moved", "resent")
LISTING = {
    "whole": "every order that the ERP holds of that time was looked at",
    "cannot": "the ERP cannot list what it holds: orders that were never sent would not be seen",
    None: "not yet",
}


def report_of(ctx: typer.Context, run: Reconciliation, limit: int) -> dict[str, Any]:
    """A run and its differences, `limit` at most; `not_shown` is how many more there are."""
    from workers.reconcile import runs as kept

    found = on_journal(ctx, lambda engine, _: kept.findings(engine, run.id, limit))
    whole = run.altered + run.missing + run.unknown + run.foreign
    return {**_facts(run), "findings": found, "not_shown": max(0, whole - len(found))}


def show_report(report: Mapping[str, Any], *, as_json: bool = False) -> None:
    """The report for people, or as one document."""
    if as_json:
        return show.document(report)
    told = {name: report[name] for name in ("backend", "since", "until", *COUNTS)}
    listing = LISTING.get(report["listing"], f"broke off: {report['listing']}")
    show.facts(f"Reconciliation {report['id']}", {**told, "listing": listing})
    if report["findings"]:
        show.table("Differences", report["findings"], ("id", "kind", "pharmacy", "reference", "state", "detail"))
    if report["not_shown"]:
        show.line(f"And {report['not_shown']:,} more; --limit shows them.")
    return None


def show_runs(ctx: typer.Context, backend: str | None, as_json: bool) -> None:
    """The runs, the newest first."""
    from workers.reconcile import runs as kept

    found = on_journal(ctx, lambda engine, _: kept.newest(engine, backend=backend, limit=RUNS))
    rows = [_facts(run) for run in found]
    headings = ("id", "backend", "since", "until", "state", "started_by", *COUNTS)
    show.listing(rows, as_json, "Reconciliations", headings)


def put_back(
    ctx: typer.Context, run: Reconciliation, because: str, *, yes: bool, dry_run: bool, as_json: bool
) -> dict[str, Any]:
    """The preview and, unless it is a `dry_run`, the act: how many orders were put back. Ctrl-C leaves the rest."""
    from workers.reconcile import resend as resending

    found = on_journal(ctx, lambda engine, _: resending.preview(engine, run))
    if not as_json:
        show.facts("To be sent again", {name: value for name, value in found.items() if name != "sample"})
        show.table("Among them", found["sample"], SAMPLE)
    if dry_run:
        return {"preview": found, "orders": 0}
    if found["orders"]:
        confirm(f"Put {show.count(found['orders'], 'order')} back in the backlog?", yes)
    try:
        orders = on_journal(ctx, lambda engine, _: _with_bar(engine, run, because, found["orders"]))
    except KeyboardInterrupt:
        show.say(f"Cut short: `relais reconcile --resume {run.id} --resend --because WHY` puts back the rest.")
        raise typer.Exit(INTERRUPTED) from None
    if not as_json:
        show.line(
            f"{show.count(orders, 'order is', 'orders are')} in the backlog again; `relais drain` watches them go."
        )
    return {"preview": found, "orders": orders}


async def _with_bar(engine: AsyncEngine, run: Reconciliation, because: str, total: int) -> int:
    from workers.cli.progress import bar
    from workers.reconcile import resend as resending

    with bar("resend", total) as shown:
        return await resending.resend(engine, run, because, lambda done: shown.at(done, max(done, total)))


def _facts(run: Reconciliation) -> dict[str, Any]:
    return {name: value for name, value in asdict(run).items() if not name.startswith("cursor")}
