"""`relais client`: the API keys of the front ends. Each act is recorded with who did it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from workers.cli.session import Json, on_journal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from config.settings import Settings

client = typer.Typer(no_args_is_help=True, help="Who may hand over orders.")

Name = Annotated[str, typer.Argument(help="Letters, digits, dot, dash and underscore.")]


@client.command("add")
def add(ctx: typer.Context, name: Name, as_json: Json = False) -> None:
    """Make an API key for a client. The key is shown this once and stored nowhere."""
    from workers.cli import show

    async def act(engine: AsyncEngine, settings: Settings) -> str:
        from orders import clients

        return await clients.add(engine, name, _recording("client add", name))

    key = on_journal(ctx, act)
    if as_json:
        show.document({"name": name, "key": key})
    else:
        show.say(f"The API key of {name}, shown this once:")
        typer.echo(key)


@client.command("list")
def listed(ctx: typer.Context, as_json: Json = False) -> None:
    """Show every client and since when its key is in force, or out of it."""
    from workers.cli import show

    async def read(engine: AsyncEngine, settings: Settings) -> list[dict[str, Any]]:
        from orders import clients

        return await clients.every(engine)

    found = on_journal(ctx, read)
    if as_json:
        show.document(found)
    else:
        show.table("Clients", found, ("name", "created_at", "revoked_at"))


@client.command("revoke")
def revoke(ctx: typer.Context, name: Name) -> None:
    """Put a client's key out of force, within seconds everywhere."""
    from workers.cli import show

    async def act(engine: AsyncEngine, settings: Settings) -> None:
        from orders import clients

        await clients.revoke(engine, name, _recording("client revoke", name))

    on_journal(ctx, act)
    show.say(f"The key of {name} is no longer in force.")


def _recording(act: str, name: str) -> Callable[[AsyncConnection], Awaitable[None]]:
    async def also(connection: AsyncConnection) -> None:
        from workers.operations import record

        await record(connection, act, None, {"client": name})

    return also
