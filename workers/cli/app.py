"""The commands, put together. Nothing heavy is imported here: see `workers.cli`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from workers.cli.commands.intake.clients import client
from workers.cli.commands.intake.keys import key
from workers.cli.commands.intake.spill import spill
from workers.cli.commands.intake.spool import spool
from workers.cli.commands.intake.submit import submit
from workers.cli.commands.intake.webhooks import webhook
from workers.cli.commands.recovery import recovery
from workers.cli.commands.recovery.dead import dead
from workers.cli.commands.recovery.divert import divert
from workers.cli.commands.recovery.forecast import forecast
from workers.cli.commands.recovery.queue import queue
from workers.cli.commands.recovery.reconcile import reconcile
from workers.cli.commands.recovery.replay import replay
from workers.cli.commands.servers import secrets, servers, simulator
from workers.cli.commands.servers.account import account
from workers.cli.commands.servers.console import console
from workers.cli.commands.servers.exporter import exporter
from workers.cli.commands.servers.space import space
from workers.cli.commands.servers.worker import worker
from workers.cli.commands.trust import reports, trust
from workers.cli.commands.trust.audit import audit
from workers.cli.commands.trust.seal import seal
from workers.cli.failure import explain

app = typer.Typer(
    name="relais",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help looks better and takes 0.3 s more
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Relais stands between an ordering front end and its ERP: it takes every order durably, and holds it "
    "untouched while the ERP is down.",
    epilog="Settings come from RELAIS_* variables or a .env file. Exit codes: 0 good, 1 the answer is bad, "
    "2 could not be done.",
)

COMMANDS: dict[str, Callable[..., None]] = {
    "up": servers.up,
    "demo": servers.demo,
    "migrate": servers.migrate,
    "api": servers.api,
    "worker": worker,
    "flower": servers.flower,
    "exporter": exporter,
    "console": console,
    "secrets": secrets.secrets,
    "acl": secrets.acl,
    "erp-sim": simulator.erp_sim,
    "submit": submit,
    "status": reports.status,
    "backlog": reports.backlog,
    "space": space,
    "forecast": forecast,
    "audit": audit,
    "seal": seal,
    "drain": recovery.drain,
    "reconcile": reconcile,
    "divert": divert,
    "pause": recovery.pause,
    "resume": recovery.resume,
    "rate": recovery.rate,
    "quarantine": trust.quarantine,
    "release": trust.release,
    "evidence": trust.evidence,
}


def _version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        typer.echo(f"relais {version('relais')}")
    except PackageNotFoundError:
        typer.echo("relais, from a checkout that is not installed")
    raise typer.Exit


@app.callback()
def common(
    ctx: typer.Context,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", file_okay=False, help="Data of the embedded services.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options that go before any command."""
    ctx.obj = data_dir


for name, command in COMMANDS.items():
    app.command(name)(command)
groups = {
    "order": reports.order,
    "replay": replay,
    "dead": dead,
    "client": client,
    "key": key,
    "spool": spool,
    "spill": spill,
    "queue": queue,
    "webhook": webhook,
    "account": account,
}
for name, group in groups.items():
    app.add_typer(group, name=name)


def run() -> None:
    """Run the command line; whatever goes wrong is one sentence on stderr and an exit code."""
    try:
        app(prog_name="relais")
    except Exception as error:
        message, code = explain(error)
        sys.stderr.write(f"relais: {message}\n")
        sys.exit(code)
