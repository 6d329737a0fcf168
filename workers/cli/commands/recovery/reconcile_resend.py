"""`relais reconcile --resend`: shows what would be put back in the backlog, asks, and puts it back, with a bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from workers.cli import show
from workers.cli.commands.recovery.recovery import INTERRUPTED
from workers.cli.session import confirm, on_journal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from workers.reconcile.runs import Reconciliation

SAMPLE = ("id", "pharmacy", "reference", "accepted_at", "settled_at", "valid_until")


def put_back(
    ctx: typer.Context, run: Reconciliation, because: str | None, *, yes: bool, dry_run: bool, as_json: bool
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
        confirm(f"Put {found['orders']:,} orders back in the backlog?", yes)
    try:
        orders = on_journal(ctx, lambda engine, _: _with_bar(engine, run, because, found["orders"]))
    except KeyboardInterrupt:
        show.say(f"Cut short: `relais reconcile --resume {run.id} --resend` puts back the rest.")
        raise typer.Exit(INTERRUPTED) from None
    if not as_json:
        show.line(f"{orders:,} orders are in the backlog again; `relais drain` waits for them.")
    return {"preview": found, "orders": orders}


async def _with_bar(engine: AsyncEngine, run: Reconciliation, because: str | None, total: int) -> int:
    from workers.cli.progress import bar
    from workers.reconcile import resend as resending

    with bar("resend", total) as shown:
        return await resending.resend(engine, run, because, lambda done: shown.at(done, max(done, total)))
