"""`relais client`: the front ends' API keys, and what they may. Each act is recorded with who did it.

A key is shown once, when it is made, on stdout and nowhere else; afterwards it goes by its fingerprint.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.durations import span
from workers.cli import completion, show
from workers.cli.commands.intake.client_rights import Overlap, changes_of, pharmacies_of, row_of, scopes_of, told_of
from workers.cli.failure import CommandFailed
from workers.cli.session import Json, Why, Yes, confirm, on_journal, recording

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

client = typer.Typer(no_args_is_help=True, help="Who may hand over orders.")

COLUMNS = ("client", "key", "scopes", "created_at", "expires_at", "last_used_at", "pharmacies", "rate")

Name = Annotated[
    str, typer.Argument(autocompletion=completion.clients, help="Letters, digits, dot, dash and underscore.")
]
Scopes = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        autocompletion=completion.scopes,
        help="What its keys open: orders:write, orders:read, ops. As often as needed.",
    ),
]
Codes = Annotated[
    list[str] | None, typer.Option("--pharmacy", metavar="CODE", help="It may order for this one only, or these.")
]
Register = Annotated[
    Path | None, typer.Option("--pharmacies", metavar="FILE", help="The same from a CSV with a column `pharmacy`.")
]


@client.command("add")
def add(
    ctx: typer.Context,
    name: Name,
    scope: Scopes = None,
    pharmacy: Codes = None,
    pharmacies: Register = None,
    rate: Annotated[float | None, typer.Option(help="Orders a second; the default of the settings if unset.")] = None,
    burst: Annotated[int | None, typer.Option(help="Orders at once; two seconds' worth if unset.")] = None,
    because: Why = None,
    as_json: Json = False,
) -> None:
    """Make an API key for a client. The key is shown this once and stored nowhere."""
    from orders.access import clients

    may: dict[str, Any] = {"pharmacies": pharmacies_of(pharmacy, pharmacies), "rate": rate, "burst": burst}
    opens = scopes_of(scope) or clients.FRONT_END

    also = recording("client add", {"client": name, "scopes": [*opens], **told_of(may)}, because)
    key = on_journal(ctx, lambda engine, _: clients.add(engine, name, also, scopes=opens, **may))
    show.secret(f"The API key of {name}", key, {"name": name, "key": key}, as_json)


@client.command("change")
def change(
    ctx: typer.Context,
    name: Name,
    scope: Scopes = None,
    pharmacy: Codes = None,
    pharmacies: Register = None,
    any_pharmacy: Annotated[bool, typer.Option("--any-pharmacy", help="It may order for any again.")] = False,
    rate: Annotated[str | None, typer.Option(metavar="R|none|default", help="Orders a second; none: no limit.")] = None,
    burst: Annotated[str | None, typer.Option(metavar="N|default", help="Orders at once.")] = None,
    because: Why = None,
) -> None:
    """Change what a client may, within seconds everywhere and with the same key; what is not named stays."""
    from orders.access import clients

    opens, values = scopes_of(scope), changes_of(pharmacies_of(pharmacy, pharmacies), any_pharmacy, rate, burst)
    if opens is None and not values:
        raise CommandFailed("say what to change: --scope, --pharmacy, --pharmacies, --any-pharmacy, --rate or --burst")
    told = told_of(values) | ({} if opens is None else {"scopes": [*opens]})
    also = recording("client change", {"client": name, **told}, because)
    on_journal(ctx, lambda engine, _: clients.change(engine, name, values, also, scopes=opens))
    show.say(f"{name} is changed, within seconds everywhere.")


@client.command("list")
def listed(ctx: typer.Context, as_json: Json = False) -> None:
    """Show every key, in force or out of it: what it opens, when it was made and used, and what its client may."""
    from orders.access import clients

    found = on_journal(ctx, lambda engine, _: clients.every(engine))
    show.listing(found, as_json, "API keys", COLUMNS, row_of)


@client.command("rotate")
def rotate(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(autocompletion=completion.clients, help="The client; or say --all.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Every client that has a key in force.")] = False,
    overlap: Overlap = "24h",  # type: ignore[assignment] # typer parses a default as it does what is typed
    because: Why = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Make new keys in place of the old ones, shown this once; with --all as CSV (client, key) to be sent out."""
    from orders.access import clients

    if (name is None) is not everybody:
        raise CommandFailed("name a client, or say --all")
    left = span(overlap.total_seconds())
    if everybody:
        confirm(f"Renew the key of every client? The old ones stay in force for {left}.", yes)
    also = _recording_each("client rotate", overlap, because)
    made = on_journal(ctx, lambda engine, _: clients.rotate(engine, name, overlap, also))
    show.say(f"{show.count(len(made), 'new API key')}, shown this once; old ones end within {left}.")
    if as_json:
        show.document([{"name": client, "key": key} for client, key in made.items()])
    elif everybody:
        csv.writer(sys.stdout, lineterminator="\n").writerows([("client", "key"), *made.items()])
    else:
        typer.echo("".join(made.values()))


@client.command("revoke")
def revoke(ctx: typer.Context, name: Name, because: Why = None) -> None:
    """Put all of a client's keys out of force for good, within seconds everywhere."""
    from orders.access import clients

    also = recording("client revoke", {"client": name}, because)
    on_journal(ctx, lambda engine, _: clients.revoke(engine, name, also))
    show.say(f"No key of {name} is in force any more.")


def _recording_each(
    act: str, overlap: timedelta, reason: str | None
) -> Callable[[AsyncConnection, str], Awaitable[None]]:
    from workers.operations import record

    left = overlap.total_seconds()
    return lambda connection, name: record(connection, act, reason, {"client": name, "overlap": left})
