"""`relais quarantine`, `release` and `evidence`: whether a backend is trusted, and what speaks against it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from workers.cli import show
from workers.cli.commands.recovery.recovery import Backend
from workers.cli.passwords import Own, proven
from workers.cli.session import MOST_ROWS, Because, Json, Yes, backend_of, confirm, on_journal, settings_of

COLUMNS = ("id", "at", "kind", "conclusive", "order_id", "detail")


def quarantine(
    ctx: typer.Context,
    because: Because,
    backend: Backend = None,
) -> None:
    """Stop trusting a backend: nothing is sent to it, not even a canary, until `release`.

    Intake goes on. What the backend still answers counts as unknown and is kept as evidence.
    """
    from workers.trust import quarantine as holding

    name = backend_of(settings_of(ctx), backend)
    on_journal(ctx, lambda engine, settings: holding.quarantine(engine, settings, name, because))
    show.say(f"{name} is in quarantine; nothing is sent to it, orders are taken in and held.")


def release(
    ctx: typer.Context,
    because: Because,
    backend: Backend = None,
    approve: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Release it as another operator proposed it.")
    ] = None,
    password_file: Own = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Trust a backend again, gently: one canary goes first. Shows what speaks against it, then asks.

    With RELAIS_FOUR_EYES the first operator proposes, and another one approves the digest that is shown; it takes
    effect only if nothing that speaks for or against the backend has changed since. Each is an account of the console
    (RELAIS_OPERATOR) and gives its password: an operator proposes, an approver approves.
    """
    settings = settings_of(ctx)
    name = backend_of(settings, backend)
    proposes = approve is None and settings.trust.four_eyes
    with _as_whom(ctx, password_file, proposes=proposes, approves=approve is not None):
        seen = _looked_at(ctx, name, as_json)
        what = "Propose to release" if proposes else "Release"
        confirm(f"{what} {name}? Orders go to it again, one canary first.", yes)
        done = _let_go(ctx, name, seen["digest"], because, approve, proposes=proposes)
    if proposes:
        _show_proposal(done, as_json)
    elif as_json:
        show.document(done)
    else:
        show.say(f"{name} is released; one canary goes first.")


def _as_whom(
    ctx: typer.Context, password_file: Path | None, *, proposes: bool, approves: bool
) -> AbstractContextManager[None]:
    """Whoever acts, proven by a password where it takes two."""
    from workers.console.access.people import Role
    from workers.operations import acting_as

    if not (proposes or approves):
        return nullcontext()
    return acting_as(proven(ctx, Role.APPROVER if approves else Role.OPERATOR, password_file))


def _let_go(
    ctx: typer.Context, name: str, digest: str, because: str, approve: str | None, *, proposes: bool
) -> dict[str, Any]:
    """Propose, approve or release what was looked at."""
    from workers.trust import quarantine as holding

    if proposes:
        return on_journal(ctx, lambda engine, _: holding.propose(engine, name, because, digest))
    if approve is not None:
        on_journal(ctx, lambda engine, _: holding.approve(engine, name, approve, because))
    else:
        on_journal(ctx, lambda engine, _: holding.release(engine, name, because, digest))
    return {"backend": name, "released": True}


def _looked_at(ctx: typer.Context, name: str, as_json: bool) -> dict[str, Any]:
    """What speaks for and against the backend, shown (but with --json)."""
    from workers.trust import quarantine as holding

    seen = on_journal(ctx, lambda engine, _: holding.look(engine, name))
    if not as_json:
        _show_snapshot(seen)
    return seen


def _show_snapshot(seen: dict[str, Any]) -> None:
    from workers.erp.own_words import masked

    told = {**seen, "held_why": masked(seen["held_why"]), "keys": ", ".join(seen["keys"]) or "none"}
    show.facts(f"{seen['backend']} as it stands", told)


def _show_proposal(seen: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show.document({"released": False, **seen})
        return
    show.line(
        f"Another operator releases it: relais release {seen['backend']} --because WHY --approve {seen['digest']}"
    )


def evidence(
    ctx: typer.Context,
    backend: Backend = None,
    order_id: Annotated[UUID | None, typer.Option("--order", metavar="ID", help="Only about this order.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="At most so many, the newest.")] = 100,
    as_json: Json = False,
) -> None:
    """Show what speaks against a backend. The answers themselves, as they came, are in --json."""
    from orders.queries import evidence as reading

    name = backend_of(settings_of(ctx), backend)

    found = on_journal(ctx, lambda engine, _: reading.listed(engine, name, order_id=order_id, limit=limit))
    show.listing(found, as_json, f"Evidence against {name}", COLUMNS, _piece)


def _piece(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "detail": show.erp_words(row["detail"] or "")}
