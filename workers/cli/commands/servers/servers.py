"""Commands that run until they are told to stop, and those that make their ground ready."""

from __future__ import annotations

from typing import Annotated

import typer

from workers.cli import show
from workers.cli.failure import journal_at, listening_on
from workers.cli.session import Json, settings_of
from workers.demo import ORDERS as DEMO_ORDERS
from workers.demo import SECONDS as DEMO_SECONDS

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")]
LOOPBACK = "127.0.0.1"


def up(ctx: typer.Context) -> None:
    """Run everything here, supervised, until Ctrl-C.

    PostgreSQL, Valkey and an ERP simulator unless their URLs are set; intake, worker and Flower.
    """
    from workers.console.access.first import first_link
    from workers.up.run import run

    settings = settings_of(ctx)
    with journal_at(settings.journal.url or "postgresql://127.0.0.1"):
        raise typer.Exit(run(settings, first=first_link))


def demo(
    ctx: typer.Context,
    orders: Annotated[int, typer.Option(min=1, help="About how many orders.")] = DEMO_ORDERS,
    seconds: Annotated[float, typer.Option(min=1, help="About how long.")] = DEMO_SECONDS,
    keep: Annotated[bool, typer.Option("--keep", help="Leave its data directory, to look into.")] = False,
    as_json: Json = False,
) -> None:
    """Replay the weekend of 19 October 2024, in a minute.

    In a stack of its own, with --data-dir in that directory, which must be new or empty. Ends with the ledger; exit 1
    when it does not balance.
    """
    from workers.demo import run

    raise typer.Exit(run(orders=orders, seconds=seconds, data_dir=ctx.obj, keep=keep, as_json=as_json))


def migrate(ctx: typer.Context) -> None:
    """Bring the journal's tables to the newest revision.

    As RELAIS_OWNER_URL where that is set; then each process gets a role with what it needs and no more, by its password
    in RELAIS_DATABASE_ROLES, or without that the user of RELAIS_DATABASE_URL what all of them need. Roles are made when
    there are none. Safe to run again, and from many places at once.
    """
    from orders.schema.migrate import migrate_for

    settings = settings_of(ctx)
    with journal_at(settings.journal.owner_url or settings.need("database_url")):
        migrate_for(settings)
    show.say("The journal is up to date.")


def api(ctx: typer.Context, host: Host = None, port: Port = None) -> None:
    """Serve the intake over HTTP.

    POST /orders is answered 202 once the order is on the journal's disk.
    """
    from orders.intake.routing import open_routing
    from workers.cli.http_server import serve_api

    settings = settings_of(ctx, "api")
    open_routing(settings)  # a list that cannot be used is said here, in one sentence
    serve_api(settings, host or settings.api.host, settings.api.port if port is None else port)


def console(ctx: typer.Context, host: Host = None, port: Port = None) -> None:
    """Serve the console: the web page that shows how Relais stands and acts on it.

    Whoever comes in needs an account: relais account add NAME.
    """
    from workers.cli.http_server import serve_console

    settings = settings_of(ctx, "console")
    serve_console(settings, host or settings.console.host, settings.console.port if port is None else port)


def flower(ctx: typer.Context, host: Host = None, port: Port = None) -> None:
    """Serve Flower, a window on the workers.

    Behind a password: RELAIS_FLOWER_AUTH (user:password), else one that is made up and shown once.
    """
    from config.flower import run_flower
    from config.telemetry import logs
    from workers.queue.app import create_app

    settings = settings_of(ctx, "flower")
    logs.begin(settings)
    shown = settings.monitoring
    address, number = host or LOOPBACK, shown.flower_port if port is None else port
    auth = shown.flower_auth.get_secret_value() if shown.flower_auth else _made_up()
    with listening_on(address, number):
        run_flower(create_app(settings), address, number, auth)


def _made_up() -> str:
    import secrets

    auth = f"relais:{secrets.token_urlsafe(12)}"
    show.say(f"Flower: user and password {auth}, shown this once")
    return auth
