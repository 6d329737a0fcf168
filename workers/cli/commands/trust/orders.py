"""`relais order` and `relais backlog`: which orders there are, what became of one, what waits."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from orders.states import State
from workers.cli import show
from workers.cli.commands.recovery.cancel import cancel
from workers.cli.commands.recovery.recovery import Older, Younger
from workers.cli.failure import CommandFailed
from workers.cli.filters import Client, Of, OfBackend, OfPriority, Product
from workers.cli.session import Json, Pharmacy, on_journal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from orders.queries.order_filter import OrderFilter

HEADINGS = ("id", "pharmacy", "reference", "state", "reason", "priority", "backend", "client", "received_at")

order = typer.Typer(no_args_is_help=True, help="Which orders there are, and what became of one.")
order.command("cancel")(cancel)


@order.command("list")
def order_list(
    ctx: typer.Context,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    pharmacy: Pharmacy = None,
    backend: OfBackend = None,
    client: Client = None,
    priority: OfPriority = None,
    reason: Of = None,
    product: Product = None,
    older: Older = None,
    younger: Younger = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    after: Annotated[UUID | None, typer.Option(metavar="ID", help="Those behind this order: the next page.")] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save all that match in FILE.csv or FILE.ndjson instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List orders, the newest first."""
    from orders.queries import order_list as order_lists
    from orders.queries.order_filter import OrderFilter

    now = datetime.now(UTC)
    since, until = younger and now - younger, older and now - older
    wanted = OrderFilter(state, pharmacy, backend, client, priority, reason, product, since or None, until or None)
    if save is not None:
        count = on_journal(ctx, lambda engine, _: _saved(engine, wanted, save))
        return show.answer(
            {"saved": count, "file": str(save)}, as_json, f"{show.count(count, 'order')} saved in {save}."
        )
    found = on_journal(ctx, lambda engine, _: order_lists.listed(engine, wanted, after=after, limit=limit))
    if as_json:
        return show.document({"orders": found.rows, "next": found.after})
    show.table("Orders, the newest first", found.rows, HEADINGS)
    if found.short:
        show.say(f"Looked at {show.count(order_lists.LOOKED, 'order')}. Look on: --after {found.after}")
    elif found.after is not None:
        show.say(f"There are more: --after {found.after}")
    return None


async def _saved(engine: AsyncEngine, wanted: OrderFilter, to: Path) -> int:
    """Write all of them; how many."""
    from orders.queries.order_files import FORMATS
    from orders.queries.order_list import every

    if (kind := to.suffix.removeprefix(".").lower()) not in FORMATS:
        raise CommandFailed(f"{to}: the name must end in .csv or .ndjson, which says how it is written")
    head, lines = FORMATS[kind]
    count = 0
    with to.open("w", encoding="utf-8", newline="") as file:
        file.write(head())
        async for rows in every(engine, wanted):
            file.write(lines(rows))
            count += len(rows)
    return count


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
    show.table(f"Backlog: {show.count(whole, 'order')}", aged, headings)
