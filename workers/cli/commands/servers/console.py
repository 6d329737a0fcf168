"""The command `console`: the web page of the person on call, served until told to stop."""

from __future__ import annotations

import typer

from workers.cli.commands.servers.servers import Host, Port
from workers.cli.session import settings_of


def console(ctx: typer.Context, host: Host = None, port: Port = None) -> None:
    """Serve the console: the web page that shows how Relais stands and acts on it.

    Whoever comes in needs an account: relais account add NAME.
    """
    from workers.cli.http_server import serve_console

    settings = settings_of(ctx, "console")
    serve_console(settings, host or settings.console.host, settings.console.port if port is None else port)
