"""`relais drain`: the backlog run down to nothing. It watches; with `--replay` it starts the staged replay first.

Watching is only watching: Ctrl-C, and a time that ran out, stop neither the orders nor the replay.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from config.durations import duration
from workers.cli import show
from workers.cli.commands.recovery.recovery import Backend, preview
from workers.cli.failure import BAD, INTERRUPTED, CommandFailed
from workers.cli.session import Json, Why, Yes, backend_of, confirm, on_journal, settings_of


def drain(
    ctx: typer.Context,
    backend: Backend = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Start the staged replay of BACKEND first, as `relais replay` does.")
    ] = False,
    because: Why = None,
    timeout: Annotated[
        timedelta | None, typer.Option(parser=duration, metavar="TIME", help="Give up after it, with exit code 1.")
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Watch until the backlog is empty, and report; with --replay, start the staged replay first.

    Without --replay it changes nothing: orders go as their backends let them. With it, what the replay takes in is
    shown and asked for; where a gate makes it hold, the watching ends with exit code 1.
    """
    from workers.cli.watch.orders import drained

    if not replay and (backend or because or yes):
        raise CommandFailed("BACKEND, --because and --yes go with --replay: without it, drain only watches")
    if replay and because is None:
        raise CommandFailed("say why the replay starts: --because WHY")
    started = {} if because is None else _started(ctx, backend_of(settings_of(ctx), backend), because, yes, as_json)
    try:
        report = started | on_journal(ctx, lambda engine, _: drained(engine, timeout, started.get("replay")))
    except KeyboardInterrupt:
        show.say("No longer watching: orders and replay go on without it. `relais status` shows how they stand.")
        raise typer.Exit(INTERRUPTED) from None
    show.answer(report, as_json, sentence(report))
    if not report["empty"]:
        raise typer.Exit(BAD)


def _started(ctx: typer.Context, backend: str, because: str, yes: bool, as_json: bool) -> dict[str, Any]:
    """The replay that was begun, after it was shown and asked for; without a number where nothing waits."""
    from workers.replay import commands
    from workers.replay.choice import Choice

    choice = Choice(backend=backend)
    found = preview(ctx, choice, as_json)
    if not found["orders"]:
        return {"preview": found}
    confirm(f"Replay {show.count(found['orders'], 'order')} of {backend}?", yes)
    began = on_journal(ctx, lambda engine, _: commands.start(engine, choice, hold=False, reason=because))
    return {"preview": found, "replay": began.id} if began.id is not None else {"preview": found}


def sentence(report: dict[str, Any]) -> str:
    """What the watching came to, for people."""
    final = ", ".join(f"{count:,} {name}" for name, count in report["became"].items() if count) or "none"
    became = f"after {report['seconds']:.1f} s; became final meanwhile: {final}."
    if report["empty"]:
        return f"The backlog is empty {became}"
    left = show.count(report["backlog"], "order is", "orders are")
    held = f" The replay holds: {report['why']}; `relais replay resume` tries again." if report.get("why") else ""
    return f"{left} still waiting {became}{held}"
