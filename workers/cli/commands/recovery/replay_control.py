"""The words that steer a replay: `replay pause`, `resume`, `next`, `hold`, `cancel`.

Each shows the replay as it stands, asks, acts, and says how it stands then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from workers.cli import show
from workers.cli.commands.recovery.recovery import Backend
from workers.cli.session import Because, Yes, backend_of, confirm, on_journal, settings_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


def _word(act: str, question: str, help: str) -> Callable[..., None]:
    """The command that asks the question and does this act of `workers.replay.commands`."""

    def command(ctx: typer.Context, because: Because, backend: Backend = None, yes: Yes = False) -> None:
        _steer(ctx, backend, question, yes, act, because)

    command.__doc__ = help
    return command


def hold(
    ctx: typer.Context,
    because: Because,
    backend: Backend = None,
    off: Annotated[bool, typer.Option("--off", help="Wait no more.")] = False,
    yes: Yes = False,
) -> None:
    """Wait for a word after each stage from now on."""
    what = "Take stage after stage without a word in" if off else "Wait after each stage of"
    _steer(ctx, backend, what, yes, "hold", not off, because)


def _steer(ctx: typer.Context, backend: str | None, question: str, yes: bool, act: str, *how: object) -> None:
    """Show the replay, ask, act, and say how it stands then."""
    from orders.errors import NotFound
    from orders.queries import replays as replay_queries
    from workers.replay import commands

    name = backend_of(settings_of(ctx), backend)

    async def read(engine: AsyncEngine, _: object) -> list[dict[str, Any]]:
        found = await replay_queries.standing(engine)
        return [row for row in found if row["backend"] == name and row["ended_at"] is None]

    found = on_journal(ctx, read)
    if not found:
        raise NotFound(f"no replay of {name} is under way")
    show.replay(found[0])
    confirm(f"{question} replay {found[0]['id']} of {name}?", yes)
    on_journal(ctx, lambda engine, _: getattr(commands, act)(engine, name, *how))
    [now] = on_journal(ctx, lambda engine, _: replay_queries.standing(engine, found[0]["id"]))
    show.say(f"The replay of {name} is {now['state']}.")


STEPS: Final[dict[str, Callable[..., None]]] = {
    "pause": _word("pause", "Pause", "Send nothing more of the replay until it is resumed; live orders go on."),
    "resume": _word("resume", "Resume", "Go on: where it was paused, or from the last stage that was passed."),
    "next": _word("next_stage", "Let the next stage begin of", "Go on to the next stage, where it waits for a word."),
    "hold": hold,
    "cancel": _word(
        "cancel",
        "Cancel",
        "End the replay; its orders stay due, as backlog like any other, and go as the window lets them.",
    ),
}
