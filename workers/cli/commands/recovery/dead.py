"""`relais dead`: the orders that need a person. Looking at them, putting them through again, giving them up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from orders.states import UNFIT, Reason, State
from workers.cli import show
from workers.cli.commands.recovery.recovery import Older, Younger, again, preview
from workers.cli.completion import backends
from workers.cli.failure import BAD, CommandFailed
from workers.cli.filters import Client, OfBackend, OfPriority, Product
from workers.cli.session import (
    MOST_ROWS,
    UNSAID,
    BecauseActing,
    DryRun,
    Json,
    NoWait,
    Pharmacy,
    Yes,
    confirm,
    on_journal,
)

if TYPE_CHECKING:
    from workers.replay.choice import Choice

dead = typer.Typer(no_args_is_help=True, help="Orders that need a person.")

Ids = Annotated[list[UUID] | None, typer.Argument(metavar="ID", help="Their ids.")]
Of = Annotated[Reason | None, typer.Option(help="Only those of this reason.")]
Cause = Annotated[int | None, typer.Option(min=0, max=2**52 - 1, help="Only those of this group of `dead groups`.")]
All = Annotated[bool, typer.Option("--all", help="Every dead letter.")]


@dead.command("groups")
def grouped(
    ctx: typer.Context,
    reason: Of = None,
    backend: Annotated[str | None, typer.Option(autocompletion=backends, help="Only those of this backend.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """Show dead letters by their cause, most orders first.

    A cause is a backend, a reason, an HTTP status and the error without what differs from order to order.
    """
    from orders.queries import causes as cause_queries

    found = on_journal(ctx, lambda engine, _: cause_queries.groups(engine, reason=reason, backend=backend, limit=limit))
    told = [{name: value for name, value in each.items() if name != "shown_at"} for each in found]
    headings = ("id", "orders", "backend", "reason", "status", "message", "last_at")
    show.listing(told, as_json, "Dead letters by cause", headings, _cause)


@dead.command("list")
def listed(
    ctx: typer.Context,
    reason: Of = None,
    cause: Cause = None,
    pharmacy: Pharmacy = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="At most so many.")] = 100,
    as_json: Json = False,
) -> None:
    """Show dead letters, the oldest first."""
    from orders.queries import orders as order_queries

    found = on_journal(
        ctx, lambda engine, _: order_queries.dead(engine, reason=reason, cause=cause, pharmacy=pharmacy, limit=limit)
    )
    headings = ("id", "pharmacy", "reference", "reason", "attempts", "error", "settled_at")
    show.listing(found, as_json, "Dead letters", headings, _letter)


@dead.command("show")
def shown(ctx: typer.Context, order_id: Annotated[UUID, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Show a dead letter whole: the order, all its reasons, every attempt."""
    from orders.queries import orders as order_queries

    life = on_journal(ctx, lambda engine, _: order_queries.order(engine, order_id))
    if life["state"] != "dead":
        raise CommandFailed(f"order {order_id} is no dead letter: it is {life['state']}", BAD)
    show.document(life) if as_json else show.life(life)


@dead.command("replay")
def replayed(
    ctx: typer.Context,
    ids: Ids = None,
    reason: Of = None,
    cause: Cause = None,
    pharmacy: Pharmacy = None,
    backend: OfBackend = None,
    client: Client = None,
    priority: OfPriority = None,
    product: Product = None,
    older: Older = None,
    younger: Younger = None,
    everything: All = False,
    because: BecauseActing = UNSAID,
    yes: Yes = False,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> None:
    """Put dead letters through again.

    With their attempts forgiven and the same idempotency keys. What was stale is as fresh as now. One that is dead by
    conflict is never put through: discard it, or let the pharmacy order anew under another reference.
    """
    narrowing: dict[str, Any] = {"cause": cause, "pharmacy": pharmacy, "backend": backend, "client": client}
    narrowing |= {"priority": priority, "product": product, "older": older, "younger": younger}
    choice = _choice(ids, everything, reason=reason, **narrowing)
    choice = replace(choice, fit=True)
    report: dict[str, Any] = {"preview": _preview(ctx, choice, as_json), "replayed": 0}
    if not dry_run and report["preview"]["orders"]:
        confirm(f"Replay {show.count(report['preview']['orders'], 'dead letter')}?", yes)
        report |= again(ctx, choice, because, wait=not no_wait)
    show.answer(report, as_json, None if dry_run else f"{show.count(report['replayed'], 'dead letter')} replayed.")


@dead.command("discard")
def discarded(
    ctx: typer.Context,
    ids: Ids = None,
    reason: Of = None,
    cause: Cause = None,
    pharmacy: Pharmacy = None,
    backend: OfBackend = None,
    client: Client = None,
    priority: OfPriority = None,
    product: Product = None,
    older: Older = None,
    younger: Younger = None,
    everything: All = False,
    because: BecauseActing = UNSAID,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Give dead letters up for good. They stay in the journal, with the reason."""
    from workers.replay import redrive as replaying

    narrowing: dict[str, Any] = {"cause": cause, "pharmacy": pharmacy, "backend": backend, "client": client}
    narrowing |= {"priority": priority, "product": product, "older": older, "younger": younger}
    choice = _choice(ids, everything, reason=reason, **narrowing)
    report: dict[str, Any] = {"preview": _preview(ctx, choice, as_json), "discarded": 0}
    if not dry_run and report["preview"]["orders"]:
        confirm(f"Give up {show.count(report['preview']['orders'], 'dead letter')} for good?", yes)
        gone = on_journal(ctx, lambda engine, _: replaying.discard(engine, choice, because))
        report["discarded"] = len(gone)
    show.answer(report, as_json, None if dry_run else f"{show.count(report['discarded'], 'dead letter')} discarded.")


def _cause(group: dict[str, Any]) -> dict[str, Any]:
    """A group as everybody may see it."""
    from workers.erp.own_words import is_trade

    said = group["message"] or ""
    return {**group, "message": show.erp_words(said, whole=is_trade(said) or group["reason"] in UNFIT)}


def _letter(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "error": show.erp_words(row["error"] or "", whole=row["reason"] in UNFIT)}


def _choice(ids: list[UUID] | None, everything: bool, *, reason: Reason | None, **filters: Any) -> Choice:
    """What the options choose; Failure when they choose nothing, or everything without saying so."""
    from workers.replay.choice import Choice

    chosen = any(value is not None for value in (reason, *filters.values()))
    if not (ids or chosen or everything):
        raise CommandFailed("choose dead letters by their ids or by options, or say --all")
    if everything and (ids or chosen):
        raise CommandFailed("--all goes without ids and without other options")
    wanted = tuple(dict.fromkeys(ids)) if ids else None
    return Choice(state=State.DEAD, ids=wanted, reason=reason, **filters)


def _preview(ctx: typer.Context, choice: Choice, as_json: bool) -> dict[str, Any]:
    """The preview; Failure (1), with nothing done, when an order that was named is not among the chosen."""
    found = preview(ctx, choice, as_json)
    if choice.ids is not None and found["orders"] < len(choice.ids):
        raise CommandFailed(f"nothing was done: only {found['orders']} of {len(choice.ids)} are such dead letters", BAD)
    return found
