"""`relais worker`: run one, run one under supervision, or ask those that run whether they work."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from config.durations import duration
from workers.cli import show
from workers.cli.failure import BAD, CommandFailed
from workers.cli.session import Json, on_journal, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.settings import Settings
    from workers.liveness.check import Heard

READ_TIMEOUT = 10.0  # s for the journal


def worker(
    ctx: typer.Context,
    supervise: Annotated[bool, typer.Option("--supervise", help="Restart it when it exits or hangs.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Run none: ask those that run, through Redis.")] = False,
    here: Annotated[bool, typer.Option("--here", help="With --check: only those of this host.")] = False,
    standby: Annotated[
        bool, typer.Option("--standby", hidden=True, help="Load what it needs, and begin once a line is read.")
    ] = False,
    timeout: Annotated[
        timedelta | None,
        typer.Option(parser=duration, metavar="TIME", help="With --check: wait so long, not while they may be busy."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a worker, which forwards orders to the ERP.

    It also stands for dispatcher: one of the workers leads. With --check, exit 1: one is silent or takes no orders
    though some wait, or none is there; 2: journal or Redis out of reach.
    """
    if check and supervise:
        raise CommandFailed("--check runs no worker: leave --supervise out")
    if not check and (here or as_json or timeout is not None):
        raise CommandFailed("--here, --timeout and --json go with --check")
    if check:
        _check(ctx, here, timeout, as_json)
        return
    if standby and not _told_to_begin():
        return
    settings = settings_of(ctx, "worker")
    _usable(settings)
    if supervise:
        from workers.liveness.supervise import supervise as keep_running

        raise typer.Exit(keep_running(settings, ctx.obj))
    from workers.worker import run_worker

    raise typer.Exit(run_worker(settings))


def _told_to_begin() -> bool:
    """Wait, with all that a worker loads in memory; False when whoever would tell is gone."""
    import sys

    from workers.worker import load

    load()
    return bool(sys.stdin.readline())


def _usable(settings: Settings) -> None:
    """A list or setting that cannot be used is said here, once, rather than by every task or after every restart."""
    from config.settings.routes_file import load_backends
    from orders.rules.catalogue import load_catalogue, load_register
    from orders.rules.staleness import open_policy
    from workers.erp import connectors

    _ = settings.files.catalogue and load_catalogue(settings.files.catalogue)
    _ = settings.files.pharmacy_register and load_register(settings.files.pharmacy_register)
    open_policy(settings)
    for name in ("database_url", "redis_url"):
        settings.need(name)
    for each in load_backends(settings, tokens=True).values():
        connectors.check(each)


def _check(ctx: typer.Context, here: bool, timeout: timedelta | None, as_json: bool) -> None:
    found = _ask(ctx, here, None if timeout is None else timeout.total_seconds())
    if as_json:
        show.document({"workers": [asdict(each) for each in found]})
    elif not found:
        show.line("no worker is there", "red")
    for each in () if as_json else found:
        show.line(_told(each), "" if each.works else "red")
    if not found or not all(each.works for each in found):
        raise typer.Exit(BAD)


def _ask(ctx: typer.Context, here: bool, seconds: float | None) -> Sequence[Heard]:
    """Of statements that may take seconds only: a journal that is frozen is out of reach."""
    from workers.liveness.check import NotAsked, check
    from workers.queue.registry import patience

    settings_of(ctx).need("redis_url")
    try:
        return on_journal(
            ctx,
            lambda engine, settings: check(engine, settings, here=here, timeout=seconds or patience(settings)),
            READ_TIMEOUT,
        )
    except NotAsked as error:
        raise CommandFailed(f"the workers cannot be checked: {error}") from None


def _told(heard: Heard) -> str:
    if heard.answered and heard.deaf is not None:
        return f"{heard.name} answers and takes no orders, for {heard.deaf:.0f} s by now, though some wait"
    if heard.answered:
        return f"{heard.name} answered in {heard.seconds:.2f} s"
    return f"{heard.name} is silent, for {heard.age:.0f} s by now"
