"""`relais order show` and `relais backlog`: what became of an order, and what is not yet final."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from workers.cli import show
from workers.cli.failure import CommandFailed
from workers.cli.session import Json, on_journal

order = typer.Typer(no_args_is_help=True, help="What became of an order.")


@order.command("show")
def order_show(
    ctx: typer.Context,
    order_id: Annotated[UUID | None, typer.Argument(metavar="ID", help="The id that intake answered.")] = None,
    pharmacy: Annotated[str | None, typer.Option(help="With --reference, instead of the id.")] = None,
    reference: Annotated[str | None, typer.Option(help="The pharmacy's own order number.")] = None,
    as_json: Json = False,
) -> None:
    """Show an order's whole life.

    What it is, where it stands, every attempt, the ERP's receipt.
    """
    from orders.queries import orders as order_queries

    if order_id is not None and pharmacy is None and reference is None:
        life = on_journal(ctx, lambda engine, _: order_queries.order(engine, order_id))
    elif order_id is None and pharmacy is not None and reference is not None:
        life = on_journal(ctx, lambda engine, _: order_queries.order_by_reference(engine, pharmacy, reference))
    else:
        raise CommandFailed("name the order by its ID, or by --pharmacy and --reference")
    show.document(life) if as_json else show.life(life)


def backlog(ctx: typer.Context, as_json: Json = False) -> None:
    """Show what is not yet final, and how old it is."""
    from config.durations import age
    from orders.queries import orders as order_queries

    rows = on_journal(ctx, lambda engine, _: order_queries.backlog(engine))
    now, whole = datetime.now(UTC), sum(row["orders"] for row in rows)
    if as_json:
        aged = [{**row, "age": (now - row["oldest"]).total_seconds()} for row in rows]
        show.document({"orders": whole, "backlog": aged})
        return
    aged = [{**row, "age": age(row["oldest"], now)} for row in rows]
    headings = ("backend", "priority", "state", "orders", "not_yet_due", "oldest", "age", "next_cut_off")
    show.table(f"Backlog: {whole:,} orders", aged, headings)
