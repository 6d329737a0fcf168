"""The commands, put together. None is imported before it is used: see `workers.cli`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final

import typer

from workers.cli.lazy import group_of

COMMANDS: Final = {  # by heading: where in `workers.cli.commands` each is, and the first sentence of its help
    "Try": {
        "up": ("servers.servers:up", "Run everything here, supervised, until Ctrl-C."),
        "demo": ("servers.servers:demo", "Replay the weekend of 19 October 2024, in a minute."),
        "outage": ("servers.outage:outage", "Take down the ERP that `relais up` simulates, or bring it back."),
        "erp-sim": ("servers.simulator:erp_sim", "Simulate an ERP that can be made to misbehave."),
    },
    "Serve": {
        "api": ("servers.servers:api", "Serve the intake over HTTP."),
        "worker": ("servers.worker:worker", "Run a worker, which forwards orders to the ERP."),
        "console": (
            "servers.servers:console",
            "Serve the console: the web page that shows how Relais stands and acts on it.",
        ),
        "exporter": ("servers.exporter:exporter", "Serve the metrics of the installation to Prometheus."),
        "flower": ("servers.servers:flower", "Serve Flower, a window on the workers."),
    },
    "Look": {
        "status": ("trust.status:status", "Show how Relais stands."),
        "backlog": ("trust.orders:backlog", "Show what is not yet final, and how old it is."),
        "forecast": ("recovery.forecast:forecast", "Foretell when the backlog will be empty."),
        "evidence": ("trust.trust:evidence", "Show what speaks against a backend."),
        "audit": ("trust.audit:audit", "Prove that no order is missing and none was altered."),
    },
    "Recover": {
        "pause": ("recovery.recovery:pause", "Stop forwarding to a backend, until `resume`."),
        "resume": ("recovery.recovery:resume", "Forward to a backend again."),
        "drain": (
            "recovery.drain:drain",
            "Watch until the backlog is empty, and report; with --replay, start the staged replay first.",
        ),
        "replay": (
            "recovery.replay:replay",
            "Put the backlog through again, stage by stage: 1 order, 10, 100, then all.",
        ),
        "rate": ("recovery.recovery:rate", "Cap how many orders a second a backend gets, over all workers."),
        "divert": ("recovery.divert:divert", "Send chosen orders of the backlog to another backend."),
        "quarantine": (
            "trust.trust:quarantine",
            "Stop trusting a backend: nothing is sent to it, not even a canary, until `release`.",
        ),
        "release": ("trust.trust:release", "Trust a backend again, gently: one canary goes first."),
        "reconcile": ("recovery.reconcile:reconcile", "Ask the ERP what it has of the orders that it acknowledged."),
    },
    "Orders": {
        "submit": ("intake.submit:submit", "Hand over every order of a file."),
        "spool": ("intake.spool:spool", "Orders that wait on this machine's disk for the intake."),
        "order": ("trust.orders:order", "Which orders there are, and what became of one."),
        "dead": ("recovery.dead:dead", "Orders that need a person."),
    },
    "Administer": {
        "client": ("intake.clients:client", "Who may hand over orders."),
        "key": ("intake.keys:key", "The keys that sign a backend's receipts."),
        "mapping": ("intake.mapping:mapping", "What a backend's ERP calls products and pharmacies."),
        "erp": ("servers.erp:erp", "The ERP of a backend, and the profiles by which one is spoken to."),
        "webhook": ("intake.webhooks:webhook", "Where clients are told of their orders."),
        "account": ("servers.account:account", "Who may come in to the console."),
        "admin": ("admin:admin", "What is needed rarely: migrations, secrets, seals, stores."),
    },
}

app = typer.Typer(
    name="relais",
    cls=group_of(COMMANDS),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help looks better and takes 0.3 s more
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Relais stands between an ordering front end and its ERP: it takes every order durably, and holds it "
    "untouched while the ERP is down.",
    epilog="Settings come from RELAIS_* variables or a .env file. Exit codes: 0 good, 1 the answer is bad, "
    "2 could not be done.",
)


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


def _unfit(argv: Sequence[str]) -> str | None:
    """What no word may be: blank, as a script's variable that is not set leaves one, or bytes that are no text.

    A blank one must not be taken for an option that was left out. What --because says of it is said there.
    """
    for number, (before, word) in enumerate(pairwise(argv), 1):
        name, equals, value = word.partition("=") if word.startswith("--") else (before, "=", word)
        of = name if name.startswith("--") else f"word {number}"
        if equals and not value.strip() and of != "--because":
            return f"{of} is blank: is a variable not set?"
        if any("\udc80" <= each <= "\udcff" for each in word):
            return f"{of} is not UTF-8: {value!a}"
    return None


def run() -> None:
    """Run the command line; whatever goes wrong is one sentence on stderr and an exit code."""
    if (unfit := _unfit(sys.argv)) is not None:
        sys.stderr.write(f"relais: {unfit}\n")
        sys.exit(2)
    try:
        app(prog_name="relais")
    except Exception as error:
        from config.telemetry.visible import visible
        from workers.cli.failure import explain

        message, code = explain(error)
        sys.stderr.write(f"relais: {visible(message)}\n")
        sys.exit(code)
