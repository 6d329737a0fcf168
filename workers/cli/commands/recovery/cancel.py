"""`relais order cancel`: chosen orders taken back for their pharmacies, in batches, while they are certainly ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from orders.states import State
from workers.cli import show
from workers.cli.commands.recovery.recovery import Older, Younger
from workers.cli.failure import BAD, CommandFailed
from workers.cli.filters import Client, Of, OfBackend, OfPriority, Product
from workers.cli.session import UNSAID, BecauseActing, DryRun, Json, Pharmacy, Yes, confirm, on_journal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from workers.replay.choice import Choice


def cancel(
    ctx: typer.Context,
    ids: Annotated[list[UUID] | None, typer.Argument(metavar="ID", help="Their ids.")] = None,
    state: Annotated[
        Literal["accepted", "dead"] | None, typer.Option(help="Only those in this state; else what waits.")
    ] = None,
    pharmacy: Pharmacy = None,
    backend: OfBackend = None,
    client: Client = None,
    priority: OfPriority = None,
    reason: Of = None,
    product: Product = None,
    older: Older = None,
    younger: Younger = None,
    because: BecauseActing = UNSAID,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Cancel orders for their pharmacies, while they are certainly ours.

    Those of the backlog, or dead letters with --state dead or --reason; orders that are named are either. What may be
    with its backend stays, and so does what comes after it was shown.
    """
    named = tuple(dict.fromkeys(ids)) if ids else None
    narrowing: dict[str, Any] = {
        "pharmacy": pharmacy,
        "backend": backend,
        "client": client,
        "priority": priority,
        "reason": reason,
    }
    narrowing |= {"product": product, "older": older, "younger": younger, "ids": named}
    if all(value is None for value in narrowing.values()):
        raise CommandFailed("choose orders by their ids or by options")
    choices = _choices(state, named, narrowing)
    found = on_journal(ctx, lambda engine, _: _look(engine, choices))
    told = {name: found[name] for name in ("orders", "urgent", "moving")}
    report: dict[str, Any] = {"preview": told, "cancelled": 0}
    if not as_json:
        show.facts("Chosen: orders that can be cancelled", {**told, "moving": _on_their_way(found["moving"])})
        show.table("Some of them", found["sample"], ("id", "pharmacy", "reference", "accepted_at"))
    if named is not None and found["orders"] < len(named):
        why = _on_their_way(found["moving"]) or "the others are final, or may be with the ERP"
        raise CommandFailed(f"nothing was done: only {found['orders']} of {len(named)} can be cancelled; {why}", BAD)
    if not dry_run and found["orders"]:
        confirm(f"Cancel {show.count(found['orders'], 'order')}? Nothing of it is delivered.", yes)
        report["cancelled"] = on_journal(ctx, lambda engine, _: _cancel(engine, choices, because))
    show.answer(report, as_json, None if dry_run else f"{show.count(report['cancelled'], 'order')} cancelled.")


def _on_their_way(moving: int) -> str | None:
    """What to do about those that move; None where none does."""
    if not moving:
        return None
    more = show.count(moving, "more is on its way to the ERP", "more are on their way to the ERP")
    then = "each is then delivered soon, or waits and can be cancelled"
    return f"{more}: `relais pause BACKEND --because WHY` first; {then}"


def _choices(state: str | None, named: Sequence[UUID] | None, narrowing: Mapping[str, Any]) -> list[Choice]:
    """One for each state that is meant, of what was there by now."""
    from workers.replay.choice import Choice

    states = [State(state)] if state else [State.DEAD if narrowing["reason"] else State.ACCEPTED]
    if named is not None and state is None:
        states = [State.ACCEPTED, State.DEAD]
    now = datetime.now(UTC)
    return [Choice(each, until=now, before=now if each is State.DEAD else None, **narrowing) for each in states]


async def _look(engine: AsyncEngine, choices: Sequence[Choice]) -> dict[str, Any]:
    """How many they are, and some of them."""
    from workers.replay import cancel, redrive

    found = [await redrive.look(engine, choice, cancel.OURS) for choice in choices]
    heads = [rows[0] for rows in found if rows]
    return {
        "orders": sum(row["orders"] for row in heads),
        "urgent": sum(row["urgent"] for row in heads),
        "moving": sum([await cancel.moving(engine, choice) for choice in choices]),
        "sample": [row for rows in found for row in rows],
    }


async def _cancel(engine: AsyncEngine, choices: Sequence[Choice], because: str) -> int:
    """Cancel them; how many."""
    from workers.replay import cancel
    from workers.replay.choice import BATCH

    done = 0
    for choice in choices:
        while ids := await cancel.cancel(engine, choice, because, BATCH):
            done += len(ids)
    return done
