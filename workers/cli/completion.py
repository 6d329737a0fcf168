"""What a shell offers when somebody presses Tab on a name: backends from the settings, the rest from the journal.

It is quick or it is silent: without settings, or with a journal that does not answer at once, nothing is offered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from config.settings import Settings

READ_TIMEOUT: Final = 0.5  # s for the journal


def backends(ctx: typer.Context, incomplete: str) -> list[str]:
    """The backends that the settings name."""
    from contextlib import suppress

    with suppress(Exception):  # whatever is wrong with the settings, a command says better
        from config.settings.routes_file import load_backends

        return [name for name in load_backends(_settings(ctx)) if name.startswith(incomplete)]
    return []


def clients(ctx: typer.Context, incomplete: str) -> list[str]:
    """The clients that the journal knows."""
    return _names(ctx, "clients", incomplete)


def accounts(ctx: typer.Context, incomplete: str) -> list[str]:
    """The accounts of the console that the journal knows."""
    return _names(ctx, "accounts", incomplete)


def roles(incomplete: str) -> list[str]:
    """What an account may be."""
    return [each for each in ("viewer", "operator", "approver") if each.startswith(incomplete)]


def scopes(incomplete: str) -> list[str]:
    """What a key can open."""
    from orders.access.clients import Scope

    return [each.value for each in Scope if each.value.startswith(incomplete)]


def _settings(ctx: typer.Context) -> Settings:
    """The settings; while a line is typed, only its outermost context has been looked at: --data-dir is there."""
    from config.settings import load

    data_dir = ctx.find_root().params.get("data_dir")
    return load(data_dir=data_dir) if data_dir else load()


def _names(ctx: typer.Context, table: str, incomplete: str) -> list[str]:
    import asyncio
    from contextlib import suppress

    with suppress(Exception):
        url = _settings(ctx).need("database_url")
        return [name for name in asyncio.run(_read(url, table)) if name.startswith(incomplete)]
    return []


async def _read(url: str, table: str) -> list[str]:
    import asyncio

    from orders.journal.hosts import reach

    async with asyncio.timeout(READ_TIMEOUT):
        connection = await reach(url, timeout=READ_TIMEOUT)
        try:
            return [row["name"] for row in await connection.fetch(f"SELECT name FROM {table} ORDER BY name")]
        finally:
            connection.terminate()
