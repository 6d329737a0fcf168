"""`relais replay`: the backlog put through again stage by stage, seen and steered; and dead letters, at once.

`relais replay …` without a word of its own is `relais replay start …`. Every act shows how things stand, then asks.
Watching is only watching: Ctrl-C stops the bar, never the orders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from orders.states import Reason, State
from workers.cli import show
from workers.cli.commands.recovery.recovery import Backend, Older, Younger, again, preview
from workers.cli.commands.recovery.replay_control import STEPS
from workers.cli.failure import BAD, INTERRUPTED
from workers.cli.filters import Client, OfPriority, Product
from workers.cli.session import (
    UNSAID,
    BecauseActing,
    DryRun,
    Json,
    NoWait,
    Pharmacy,
    Yes,
    backend_of,
    confirm,
    on_journal,
    settings_of,
)

if TYPE_CHECKING:
    from workers.replay.choice import Choice


class _StartByDefault(TyperGroup):
    """`relais replay --yes` is `relais replay start --yes`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["start", *args]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands, and the options of the one that goes without saying."""
        super().format_commands(ctx, formatter)
        told = [each.get_help_record(ctx) for each in self.commands["start"].params]
        with formatter.section("Options of `replay start`, a word that may be left out"):
            formatter.write_dl([each for each in told if each is not None])


replay = typer.Typer(
    cls=_StartByDefault,
    no_args_is_help=False,
    help="Put the backlog through again, stage by stage: 1 order, 10, 100, then all. `replay OPTIONS` starts one.",
)


for _name, _step in STEPS.items():
    replay.command(_name)(_step)


@replay.command("start")
def start(
    ctx: typer.Context,
    backend: Backend = None,
    stage_hold: Annotated[bool, typer.Option("--stage-hold", help="Wait for `replay next` after each stage.")] = False,
    pharmacy: Pharmacy = None,
    client: Client = None,
    product: Product = None,
    older: Older = None,
    younger: Younger = None,
    priority: OfPriority = None,
    reason: Annotated[
        Reason | None, typer.Option(help="Dead letters of this reason, at once, not the backlog.")
    ] = None,
    because: BecauseActing = UNSAID,
    yes: Yes = False,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> None:
    """Put a backend's backlog through again, stage by stage.

    One order, then 10, then 100, then as many as the window takes; each stage has to pass the gates
    (receipts, errors, latency), else it holds and says why. With --reason: dead letters, at once.
    """
    from workers.replay.choice import Choice

    choice = Choice(
        state=State.DEAD if reason else State.ACCEPTED,
        pharmacy=pharmacy,
        client=client,
        product=product,
        priority=priority,
        reason=reason,
        older=older,
        younger=younger,
        backend=backend if reason else backend_of(settings_of(ctx), backend),
    )
    report: dict[str, Any] = {"preview": preview(ctx, choice, as_json), "replayed": 0}
    if not dry_run and report["preview"]["orders"]:
        confirm(f"Replay {show.count(report['preview']['orders'], 'order')}?", yes)
        if reason:
            report |= again(ctx, choice, because, wait=not no_wait)
        else:
            report |= _step_by_step(ctx, choice, because, hold=stage_hold, wait=not no_wait)
    show.answer(report, as_json, None if dry_run else _sentence(report))
    if report.get("state") in ("holding", "cancelled"):
        raise typer.Exit(BAD)


@replay.command("status")
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show how each backend's newest replay stands, and what its stages came to."""
    from orders.queries import replays as replay_queries

    found = on_journal(ctx, lambda engine, _: replay_queries.standing(engine))
    if as_json:
        show.document(found)
        return
    for row in found:
        show.replay(row)
    if not found:
        show.line("No replay was ever started.")


def _step_by_step(ctx: typer.Context, choice: Choice, because: str, *, hold: bool, wait: bool) -> dict[str, Any]:
    from workers.cli.watch.orders import followed
    from workers.replay import commands

    began = on_journal(ctx, lambda engine, _: commands.start(engine, choice, hold=hold, reason=because))
    number = began.id
    if number is None:
        return {}
    report = {"replayed": len(began.orders), "replay": number}
    if not wait:
        return report
    try:
        return report | on_journal(ctx, lambda engine, _: followed(engine, number, began.orders))
    except KeyboardInterrupt:
        show.say("No longer watching: the replay goes on without it. `relais replay status` shows how it stands.")
        raise typer.Exit(INTERRUPTED) from None


def _sentence(report: dict[str, Any]) -> str:
    if not report["replayed"]:
        return "Nothing to replay."
    sentence = f"{show.count(report['replayed'], 'order')} replayed"
    if "became" not in report:
        return f"{sentence}; they are due now."
    became = ", ".join(f"{count:,} {state}" for state, count in report["became"].items())
    if report.get("state") in ("holding", "cancelled"):
        why = f": {report['why']}" if report["why"] else ""
        return f"{sentence}, and after {report['seconds']:.1f} s it is {report['state']}{why}. So far: {became}."
    return f"{sentence} in {report['seconds']:.1f} s: {became}."
