"""What every command does alike: find its settings, open the journal, ask before it acts."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from config.acl import OPS
from config.telemetry.visible import visible
from workers.cli.failure import BAD, CommandFailed, journal_at

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from config.settings import Settings

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of a table.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", is_eager=True, help="Show what it would touch, and stop.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until the orders are final.")]


def _reason(ctx: typer.Context, said: str | None) -> str | None:
    """A justification as the console takes it, or none where none is needed. BadParameter."""
    from workers.console.fields import reason

    if said is None or (said == UNSAID and ctx.params.get("dry_run")):
        return said
    try:
        return reason(said)
    except ValueError as error:
        raise typer.BadParameter(f"say why, it {error}") from None


UNSAID = ""
FOR_THE_RECORD = "Why, for the record."
Because = Annotated[str, typer.Option("--because", callback=_reason, metavar="WHY", help=FOR_THE_RECORD)]
Why = Annotated[str | None, typer.Option("--because", callback=_reason, metavar="WHY", help=FOR_THE_RECORD)]
BecauseActing = Annotated[  # its default is UNSAID
    str,
    typer.Option(
        "--because",
        callback=_reason,
        metavar="WHY",
        show_default=False,
        help=f"{FOR_THE_RECORD} Needed, but with --dry-run.",
    ),
]
Pharmacy = Annotated[str | None, typer.Option(help="Only this pharmacy's orders.")]

MOST_ROWS = 1_000_000  # that a --limit may ask for
STATEMENT_TIMEOUT = 600.0  # s; an act on a whole backlog is one statement


def settings_of(ctx: typer.Context, user: str = OPS) -> Settings:
    """The settings in force for this command, which is that user of Redis where `relais up` offers it.

    Raises what `config.settings.load.load` raises, and Failure.
    """
    from json import JSONDecodeError

    from config.settings import ENDPOINTS, load

    data_dir: Path | None = ctx.obj
    try:
        return load(user) if data_dir is None else load(user, data_dir=data_dir)
    except (JSONDecodeError, UnicodeDecodeError) as error:
        raise CommandFailed(f"settings: {ENDPOINTS} or .env cannot be read: {error}") from None


def backend_of(settings: Settings, name: str | None) -> str:
    """The backend that an act is about: the one that is named, else the default one."""
    from config.settings.routes_file import load_backends

    return name or next(iter(load_backends(settings)))


def of_backend(settings: Settings, name: str | None) -> Settings:
    """The settings of one backend, of the default one when none is named. NotFound when it is not known here."""
    from config.settings.routes_file import load_backends
    from orders.errors import NotFound

    known = load_backends(settings, tokens=True)
    if name is None:
        return next(iter(known.values()))
    if name not in known:
        raise NotFound(f"no backend {name} is known here; known are {', '.join(known)}")
    return known[name]


def on_journal(
    ctx: typer.Context, work: Callable[[AsyncEngine, Settings], Awaitable[T]], timeout: float = STATEMENT_TIMEOUT
) -> T:
    """Run `work(engine, settings)` on the journal, a statement for at most `timeout` seconds; what it returns."""
    import asyncio

    async def with_engine() -> T:
        from orders.journal import connect

        engine = connect(settings.need("database_url"), pool=2, timeout=timeout)
        try:
            return await work(engine, settings)
        finally:
            await engine.dispose()

    settings = settings_of(ctx)
    with journal_at(settings.need("database_url")):
        return asyncio.run(with_engine())


def recording(
    act: str, detail: Mapping[str, Any], reason: str | None = None
) -> Callable[[AsyncConnection], Awaitable[None]]:
    """Writes the act down, in the transaction that does it."""
    from workers.operations import record

    return lambda connection: record(connection, act, reason, {**detail})


def confirm(question: str, yes: bool) -> None:
    """Ask a person, unless `yes`. Failure (2) where nobody can be asked, Failure (1) when the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandFailed("nobody can be asked here: say --yes, or --dry-run to look only")
    if not typer.confirm(visible(question), err=True):
        raise CommandFailed("nothing was done", BAD)
