"""`relais reconcile`: what an ERP has of the orders that it acknowledged, and sending again what it has forgotten.

It asks by itself, not through the workers, so it works while the backend is paused or in quarantine. Every run is
kept with its number: one that was cut short is resumed, one that is done is shown again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from config.durations import duration, instant
from workers.cli import show
from workers.cli.commands.recovery.recovery import Backend
from workers.cli.failure import BAD, INTERRUPTED, CommandFailed
from workers.cli.session import MOST_ROWS, Json, Why, Yes, of_backend, on_journal, settings_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from config.settings import Settings
    from workers.reconcile.runs import Reconciliation

Time = Annotated[
    datetime | None, typer.Option(parser=instant, metavar="TIME", help="RFC 3339, or an age: 90s, 15m, 6h, 2d.")
]


def reconcile(
    ctx: typer.Context,
    backend: Backend = None,
    since: Time = None,
    until: Time = None,
    resume: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, max=2**63 - 1, help="Go on with this run, or show it.")
    ] = None,
    runs: Annotated[bool, typer.Option("--list", help="Show the runs, the newest first.")] = False,
    resend: Annotated[bool, typer.Option("--resend", help="Put what is missing back in the backlog.")] = False,
    because: Why = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --resend: show what it would touch.")] = False,
    patience: Annotated[
        timedelta, typer.Option(parser=duration, metavar="TIME", help="How long the ERP may be silent.")
    ] = "1m",  # type: ignore[assignment] # typer parses a default as it does what is typed
    limit: Annotated[int, typer.Option(min=1, max=MOST_ROWS, help="Show so many differences at most.")] = 100,
    as_json: Json = False,
) -> None:
    """Ask the ERP what it has of the orders that it acknowledged.

    Of those acknowledged since a time, and until one, now by default. Every difference is kept: missing, altered,
    unknown, and what the ERP has and was never sent. Exit 1 when there is any.
    """
    from workers.cli.commands.recovery.reconcile_report import put_back, report_of, show_report, show_runs
    from workers.reconcile import runs as kept

    _check(since, until, resume, runs, dry_run and not resend)
    if runs:
        return show_runs(ctx, backend, as_json)
    if because is None and (since is not None or (resend and not dry_run)):
        raise CommandFailed("say why, for the record: --because WHY")
    run = _known(ctx, backend, resume, because) if since is None else _begun(ctx, backend, since, until, str(because))
    run = _ask(ctx, run, patience.total_seconds())
    report = report_of(ctx, run, limit)
    if not as_json:
        show_report(report)
    if resend:
        report["resend"] = put_back(ctx, run, str(because), yes=yes, dry_run=dry_run, as_json=as_json)
        run = on_journal(ctx, lambda engine, _: kept.read(engine, run.id))
    if as_json:
        show_report(report | {"state": run.state, "resent": run.resent}, as_json=True)
    if not run.sound:
        raise typer.Exit(BAD)
    return None


def _check(since: datetime | None, until: datetime | None, resume: int | None, runs: bool, mere_dry_run: bool) -> None:
    """Failure when the options do not go together."""
    if sum((since is not None, resume is not None, runs)) != 1:
        raise CommandFailed("say --since TIME, or --resume NUMBER, or --list")
    if mere_dry_run:
        raise CommandFailed("--dry-run goes with --resend; without it nothing is sent again anyway")
    if until is not None and (since is None or until <= since):
        raise CommandFailed("--until goes with an earlier --since")
    if since is not None and since >= datetime.now(UTC):
        raise CommandFailed("--since is not over yet")


def _begun(
    ctx: typer.Context, backend: str | None, since: datetime, until: datetime | None, because: str
) -> Reconciliation:
    """A new run, and a word about one of the same backend that was cut short."""
    from workers.erp import connectors
    from workers.reconcile import runs as kept

    settings = of_backend(settings_of(ctx), backend)
    connectors.check(settings)

    async def begin(engine: AsyncEngine, _: Settings) -> tuple[list[Reconciliation], Reconciliation]:
        short = await kept.newest(engine, backend=settings.erp.backend, cut_short=True, limit=1)
        return short, await kept.begin(engine, settings.erp.backend, since, until, because)

    short, run = on_journal(ctx, begin)
    for other in short:
        asked = other.present + other.altered + other.missing + other.unknown
        show.say(
            f"Reconciliation {other.id} of {show.moment(other.started_at)} is at {show.count(asked, 'order')}, or was "
            f"cut short there: then {_resumes(other)}."
        )
    show.say(f"This is reconciliation {run.id}; if it is cut short, {_resumes(run)}.")
    return run


def _known(ctx: typer.Context, backend: str | None, number: int | None, because: str | None) -> Reconciliation:
    """A run of before, which goes on where it is not done. NotFound; Failure when it is another backend's."""
    from orders.schema.tables.reconcile import ReconcileStage
    from workers.reconcile import runs as kept

    assert number is not None
    run = on_journal(ctx, lambda engine, _: kept.read(engine, number))
    if backend not in (None, run.backend):
        raise CommandFailed(f"reconciliation {number} is about {run.backend}")
    if run.state != ReconcileStage.RUNNING:
        return run
    if because is None:
        raise CommandFailed(f"reconciliation {number} is not done: say why it goes on, with --because WHY")
    on_journal(ctx, lambda engine, _: kept.go_on(engine, run, because))
    return run


def _ask(ctx: typer.Context, run: Reconciliation, silence: float) -> Reconciliation:
    """Ask what the run has not asked yet, with a bar; Ctrl-C cuts it short."""
    from orders.errors import RelaisError
    from orders.schema.tables.reconcile import ReconcileStage

    if run.state != ReconcileStage.RUNNING:
        return run
    try:
        return on_journal(
            ctx, lambda engine, settings: _ask_all(engine, of_backend(settings, run.backend), run, silence)
        )
    except RelaisError as error:
        raise CommandFailed(f"{error}; {_resumes(run)} where it was") from None
    except KeyboardInterrupt:
        show.say(f"Cut short: {_resumes(run)} where it was.")
        raise typer.Exit(INTERRUPTED) from None


def _resumes(run: Reconciliation) -> str:
    return f"`relais reconcile --resume {run.id} --because WHY` goes on"


async def _ask_all(engine: AsyncEngine, settings: Settings, run: Reconciliation, silence: float) -> Reconciliation:
    from workers.cli.progress import bar
    from workers.erp.connectors import open_erp
    from workers.reconcile import compare as asking
    from workers.reconcile.patience import Patience
    from workers.trust.key_cache import ReceiptKeyCache

    erp = open_erp(settings, ReceiptKeyCache(engine, settings.erp.backend))
    try:
        with bar("reconcile", None) as shown:
            return await asking.reconcile(engine, erp, run, Patience(silence, settings.delivery.batch_budget), shown.at)
    finally:
        await erp.close()
