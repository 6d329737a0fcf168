"""Commands of the recovery: `replay`, `drain`, `pause`, `resume`.

A replay shows what it would touch before it touches it. Watching it, or a drain, is only watching: Ctrl-C stops the
bar, never the orders.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from config.durations import duration
from orders.states import Reason, State
from workers.cli.failure import BAD
from workers.cli.session import Json, Pharmacy, Yes, confirm, on_journal, settings_of

if TYPE_CHECKING:
    from uuid import UUID

    from workers.replay import Choice

Older = Annotated[
    timedelta | None, typer.Option(parser=duration, metavar="AGE", help="Accepted longer ago: 90s, 15m, 6h, 2d.")
]
Younger = Annotated[timedelta | None, typer.Option(parser=duration, metavar="AGE", help="Accepted since.")]
Why = Annotated[str | None, typer.Option("--because", help="Why, for the record.")]
Backend = Annotated[str | None, typer.Argument(metavar="BACKEND", help="RELAIS_BACKEND when left out.")]
INTERRUPTED = 130


def replay(
    ctx: typer.Context,
    pharmacy: Pharmacy = None,
    older: Older = None,
    younger: Younger = None,
    priority: Annotated[Literal["urgent", "normal"] | None, typer.Option(help="Only these orders.")] = None,
    reason: Annotated[Reason | None, typer.Option(help="Dead letters of this reason, not the backlog.")] = None,
    because: Why = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it would touch, and stop.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until the orders are final.")] = False,
    as_json: Json = False,
) -> None:
    """Put the backlog, or dead letters, through again.

    Due at once, with the same idempotency keys; an open circuit sends its canary now. The window
    still rules how much of it reaches the ERP at once.
    """
    from workers.cli import show
    from workers.replay import Choice

    choice = Choice(
        state=State.DEAD if reason else State.ACCEPTED, pharmacy=pharmacy, priority=priority,
        reason=reason, older=older, younger=younger,
    )  # fmt: skip
    report: dict[str, Any] = {"preview": preview(ctx, choice, as_json), "replayed": 0}
    if not dry_run and report["preview"]["orders"]:
        confirm(f"Replay {report['preview']['orders']:,} orders?", yes)
        report |= again(ctx, choice, because, wait=not no_wait)
    if as_json:
        show.document(report)
    elif not dry_run:
        show.line(_sentence(report))


def drain(
    ctx: typer.Context,
    timeout: Annotated[
        timedelta | None, typer.Option(parser=duration, metavar="TIME", help="Give up after it, with exit code 1.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Wait until the backlog is empty, and report."""
    from workers.cli import show
    from workers.cli.watching import drained

    report = on_journal(ctx, lambda engine, _: drained(engine, timeout))
    if as_json:
        show.document(report)
    else:
        state = "The backlog is empty" if report["empty"] else f"{report['backlog']:,} orders are still waiting"
        final = ", ".join(f"{count:,} {name}" for name, count in report["became"].items() if count) or "none"
        show.line(f"{state} after {report['seconds']:.1f} s; became final meanwhile: {final}.")
    if not report["empty"]:
        raise typer.Exit(BAD)


def pause(
    ctx: typer.Context,
    reason: Annotated[str, typer.Option(help="Why, for the record and for `relais status`.")],
    backend: Backend = None,
) -> None:
    """Stop forwarding to a backend, until `resume`. Intake goes on."""
    from workers import operations
    from workers.cli import show

    name = backend or settings_of(ctx).backend
    on_journal(ctx, lambda engine, settings: operations.pause(engine, settings, name, reason))
    show.say(f"{name} is paused; orders are taken in and held.")


def resume(
    ctx: typer.Context,
    backend: Backend = None,
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
) -> None:
    """Forward to a backend again."""
    from workers import operations
    from workers.cli import show

    name = backend or settings_of(ctx).backend
    on_journal(ctx, lambda engine, settings: operations.resume(engine, settings, name, reason))
    show.say(f"{name} is resumed.")


def preview(ctx: typer.Context, choice: Choice, as_json: bool) -> dict[str, Any]:
    """What an act on `choice` would touch, shown (on stderr beside --json, where it is part of the report)."""
    from workers import replay as replaying
    from workers.cli import show

    found = on_journal(ctx, lambda engine, _: replaying.preview(engine, choice))
    if not as_json:
        what = "dead letters" if choice.state == "dead" else "orders of the backlog"
        show.facts(f"Chosen: {what}", found)
    return found


def again(ctx: typer.Context, choice: Choice, because: str | None, *, wait: bool) -> dict[str, Any]:
    """Replay what is chosen, and watch it until it is final when `wait`; what became of it."""
    from workers import replay as replaying
    from workers.cli import show
    from workers.cli.watching import settled

    ids: list[UUID] = on_journal(ctx, lambda engine, _: replaying.replay(engine, choice, because))
    if not wait or not ids:
        return {"replayed": len(ids)}
    try:
        became = on_journal(ctx, lambda engine, _: settled(engine, ids))
    except KeyboardInterrupt:
        show.say("No longer watching: the replay goes on without it. `relais status` shows how it stands.")
        raise typer.Exit(INTERRUPTED) from None
    return {"replayed": len(ids), **became}


def _sentence(report: dict[str, Any]) -> str:
    if not report["replayed"]:
        return "Nothing to replay."
    sentence = f"{report['replayed']:,} orders replayed"
    if "became" not in report:
        return f"{sentence}; they are due now."
    became = ", ".join(f"{count:,} {state}" for state, count in report["became"].items())
    return f"{sentence} in {report['seconds']:.1f} s: {became}."
