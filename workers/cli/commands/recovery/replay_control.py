"""The words that steer a replay: `replay pause`, `resume`, `next`, `hold`, `cancel`.

Each shows the replay as it stands, asks, acts, and says how it stands then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workers.cli import show
from workers.cli.commands.recovery.recovery import Backend, Why
from workers.cli.session import Yes, backend_of, confirm, on_journal, settings_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncEngine


def pause(ctx: typer.Context, backend: Backend = None, because: Why = None, yes: Yes = False) -> None:
    """Send nothing more of the replay until it is resumed; live orders go on."""
    from workers.replay import commands

    _steer(ctx, backend, "Pause", yes, lambda engine, name: commands.pause(engine, name, because))


def resume(ctx: typer.Context, backend: Backend = None, because: Why = None, yes: Yes = False) -> None:
    """Go on: where it was paused, or from the last stage that was passed."""
    from workers.replay import commands

    _steer(ctx, backend, "Resume", yes, lambda engine, name: commands.resume(engine, name, because))


def next_stage(ctx: typer.Context, backend: Backend = None, because: Why = None, yes: Yes = False) -> None:
    """Go on to the next stage, where it waits for a word."""
    from workers.replay import commands

    _steer(
        ctx,
        backend,
        "Let the next stage begin of",
        yes,
        lambda engine, name: commands.next_stage(engine, name, because),
    )


def hold(
    ctx: typer.Context,
    backend: Backend = None,
    off: Annotated[bool, typer.Option("--off", help="Wait no more.")] = False,
    because: Why = None,
    yes: Yes = False,
) -> None:
    """Wait for a word after each stage from now on."""
    from workers.replay import commands

    what = "Take stage after stage without a word in" if off else "Wait after each stage of"
    _steer(ctx, backend, what, yes, lambda engine, name: commands.hold(engine, name, not off, because))


def cancel(ctx: typer.Context, backend: Backend = None, because: Why = None, yes: Yes = False) -> None:
    """End the replay; its orders stay due, as backlog like any other, and go as the window lets them."""
    from workers.replay import commands

    _steer(ctx, backend, "Cancel", yes, lambda engine, name: commands.cancel(engine, name, because))


def _steer(
    ctx: typer.Context,
    backend: str | None,
    question: str,
    yes: bool,
    act: Callable[[AsyncEngine, str], Awaitable[None]],
) -> None:
    """Show the replay, ask, act, and say how it stands then."""
    from orders.errors import NotFound
    from orders.queries import replays as replay_queries

    name = backend_of(settings_of(ctx), backend)

    async def read(engine: AsyncEngine, _: object) -> list[dict[str, Any]]:
        return [
            row for row in await replay_queries.standing(engine) if row["backend"] == name and row["ended_at"] is None
        ]

    found = on_journal(ctx, read)
    if not found:
        raise NotFound(f"no replay of {name} is under way")
    show.replay(found[0])
    confirm(f"{question} replay {found[0]['id']} of {name}?", yes)
    on_journal(ctx, lambda engine, _: act(engine, name))
    [now] = on_journal(ctx, lambda engine, _: replay_queries.standing(engine, found[0]["id"]))
    show.say(f"The replay of {name} is {now['state']}.")


STEPS: Final[dict[str, Callable[..., None]]] = {
    "pause": pause,
    "resume": resume,
    "next": next_stage,
    "hold": hold,
    "cancel": cancel,
}
