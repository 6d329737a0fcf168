"""`relais divert`: send chosen backlog to another backend, while its own is out.

Before it moves anything it shows what it would move, and what it would leave behind because it may be with its
backend already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from workers.cli import show
from workers.cli.commands.recovery.recovery import Older, Younger
from workers.cli.completion import backends
from workers.cli.failure import BAD, CommandFailed
from workers.cli.filters import Client, OfPriority, Product
from workers.cli.session import UNSAID, BecauseActing, DryRun, Json, Pharmacy, Yes, confirm, on_journal

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from config.settings import Settings
    from workers.replay.choice import Choice


def divert(
    ctx: typer.Context,
    to: Annotated[str, typer.Option(metavar="BACKEND", autocompletion=backends, help="Where they are to go.")],
    of: Annotated[
        str | None,
        typer.Option("--from", metavar="BACKEND", autocompletion=backends, help="Only this backend's orders."),
    ] = None,
    priority: OfPriority = None,
    pharmacy: Pharmacy = None,
    client: Client = None,
    product: Product = None,
    older: Older = None,
    younger: Younger = None,
    orders: Annotated[
        list[UUID] | None, typer.Option("--order", metavar="ID", help="This order; may be repeated.")
    ] = None,
    although_unknown: Annotated[
        bool,
        typer.Option("--although-unknown", help="Those named by --order also where their backend may have them."),
    ] = False,
    because: BecauseActing = UNSAID,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send chosen orders of the backlog to another backend.

    What may be with its own backend already stays, until that is known or an operator names it.
    """
    from workers.replay import divert as diverting
    from workers.replay.choice import Choice

    if although_unknown and not orders:
        raise CommandFailed("--although-unknown goes with --order: what may be with its backend is moved by name")
    ids = tuple(dict.fromkeys(orders)) if orders else None
    narrowing: dict[str, Any] = {"pharmacy": pharmacy, "priority": priority, "client": client, "product": product}
    choice = Choice(**narrowing, older=older, younger=younger, backend=of, ids=ids)
    report: dict[str, Any] = {"preview": _preview(ctx, choice, to, although_unknown, as_json), "diverted": 0}
    if not dry_run and report["preview"]["orders"]:
        confirm(f"Divert {show.count(report['preview']['orders'], 'order')} to {to}?", yes)
        moved = on_journal(
            ctx, lambda engine, _: diverting.divert(engine, choice, to, because, although_unknown=although_unknown)
        )
        report |= {"diverted": len(moved)}
    show.answer(report, as_json, None if dry_run else f"{show.count(report['diverted'], 'order')} diverted to {to}.")


def _preview(ctx: typer.Context, choice: Choice, to: str, although_unknown: bool, as_json: bool) -> dict[str, Any]:
    """What would move and what would stay, shown (with --json as part of the report), and how `to` stands.

    Failure, with nothing done, when there is no such backend or an order that was named cannot move.
    """

    async def look(engine: AsyncEngine, settings: Settings) -> dict[str, Any]:
        from config.settings.routes_file import load_backends
        from orders.queries import backends as backend_rows
        from workers.dispatch.blocked import hindrance
        from workers.dispatch.leadership import leader
        from workers.replay import divert as diverting

        if to not in (known := load_backends(settings)):
            raise CommandFailed(f"no backend {to}; there are {', '.join(known)}", BAD)
        found = await diverting.preview(engine, choice, to, although_unknown=although_unknown)
        rows = {row["name"]: row for row in await backend_rows.standing(engine)}
        return {**found, "held": hindrance(rows[to], await leader(engine)) if to in rows else None}

    found = on_journal(ctx, look)
    if not as_json:
        facts = {name: value for name, value in found.items() if name not in ("sample", "backends")}
        show.facts(f"To {to}: orders of the backlog", facts)
        if found["sample"]:
            show.table("The oldest of them", found["sample"], ("id", "pharmacy", "reference", "backend", "accepted_at"))
    if choice.ids is not None and found["orders"] < len(choice.ids):
        raise CommandFailed(
            f"nothing was done: only {found['orders']} of {len(choice.ids)} can be moved; "
            f"{found['left_unknown'] + found['left_on_their_way']} may be with their backend",
            BAD,
        )
    return found
