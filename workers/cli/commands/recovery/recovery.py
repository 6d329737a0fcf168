"""Commands of the recovery: `pause`, `resume`, `rate`; and what every command shares that puts orders through again.

What an act would touch is shown before it touches it. Watching is only watching: Ctrl-C stops the bar, never the
orders.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.durations import duration
from workers.cli import show
from workers.cli.completion import backends
from workers.cli.failure import INTERRUPTED
from workers.cli.session import Because, backend_of, on_journal, settings_of

if TYPE_CHECKING:
    from uuid import UUID

    from workers.replay.choice import Choice

Older = Annotated[
    timedelta | None, typer.Option(parser=duration, metavar="AGE", help="Accepted longer ago: 90s, 15m, 6h, 2d.")
]
Younger = Annotated[timedelta | None, typer.Option(parser=duration, metavar="AGE", help="Accepted since.")]
Backend = Annotated[
    str | None, typer.Argument(metavar="BACKEND", autocompletion=backends, help="RELAIS_BACKEND when left out.")
]


def pause(
    ctx: typer.Context,
    because: Because,
    backend: Backend = None,
) -> None:
    """Stop forwarding to a backend, until `resume`. Intake goes on."""
    from workers import operations

    name = backend_of(settings_of(ctx), backend)
    on_journal(ctx, lambda engine, settings: operations.pause(engine, settings, name, because))
    show.say(f"{name} is paused; orders are taken in and held.")


def resume(
    ctx: typer.Context,
    because: Because,
    backend: Backend = None,
) -> None:
    """Forward to a backend again."""
    from workers import operations

    name = backend_of(settings_of(ctx), backend)
    on_journal(ctx, lambda engine, settings: operations.resume(engine, settings, name, because))
    show.say(f"{name} is resumed.")


def rate(
    ctx: typer.Context,
    words: Annotated[list[str], typer.Argument(metavar="[BACKEND] N|off", help="Orders a second, or no limit.")],
    because: Because,
) -> None:
    """Cap how many orders a second a backend gets, over all workers."""
    from workers import operations

    name = backend_of(settings_of(ctx), words[0] if len(words) == 2 else None)
    wanted = _rate(words)
    on_journal(ctx, lambda engine, _: operations.limit(engine, name, wanted, because))
    show.say(
        f"{name} gets as many orders as its window lets."
        if wanted is None
        else f"{name} gets at most {wanted:g} orders a second."
    )


def _rate(words: list[str]) -> float | None:
    if len(words) <= 2 and words[-1] == "off":
        return None
    try:
        wanted = float(words[-1])
    except ValueError:
        wanted = 0.0
    if len(words) > 2 or not 0.01 <= wanted <= 1_000_000:
        raise typer.BadParameter("say [BACKEND] and orders a second (0.01 to 1000000), or off", param_hint="N|off")
    return wanted


def preview(ctx: typer.Context, choice: Choice, as_json: bool) -> dict[str, Any]:
    """What an act on `choice` would touch, shown (on stderr beside --json, where it is part of the report)."""
    from workers.replay import redrive as replaying

    found = on_journal(ctx, lambda engine, _: replaying.preview(engine, choice))
    if not as_json:
        what = "dead letters" if choice.state == "dead" else "orders of the backlog"
        show.facts(f"Chosen: {what}", found)
    return found


def again(ctx: typer.Context, choice: Choice, because: str, *, wait: bool) -> dict[str, Any]:
    """Replay what is chosen, and watch it until it is final when `wait`; what became of it."""
    from workers.cli.watch.orders import settled
    from workers.replay import redrive as replaying

    ids: list[UUID] = on_journal(ctx, lambda engine, _: replaying.replay(engine, choice, because))
    if not wait or not ids:
        return {"replayed": len(ids)}
    try:
        became = on_journal(ctx, lambda engine, _: settled(engine, ids))
    except KeyboardInterrupt:
        show.say("No longer watching: the replay goes on without it. `relais status` shows how it stands.")
        raise typer.Exit(INTERRUPTED) from None
    return {"replayed": len(ids), **became}
