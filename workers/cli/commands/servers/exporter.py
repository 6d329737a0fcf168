"""The command `exporter`: the metrics of the installation, served until told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from workers.cli.commands.servers.servers import Host, Port
from workers.cli.failure import listening_on
from workers.cli.session import settings_of

if TYPE_CHECKING:
    from config.settings import Settings

GRACE = 3.0  # s that a scrape in hand may take after SIGTERM


def exporter(ctx: typer.Context, host: Host = None, port: Port = None) -> None:
    """Serve the metrics of the installation to Prometheus.

    GET /metrics reads the journal in one snapshot, and Redis. docs/metrics.md has every metric.
    """
    import asyncio

    from config.telemetry import logs

    settings = settings_of(ctx, "exporter")
    logs.begin(settings)
    listens = settings.monitoring
    address, number = host or listens.exporter_host, listens.exporter_port if port is None else port
    with listening_on(address, number):
        asyncio.run(_serve(settings, address, number))


async def _serve(settings: Settings, host: str, port: int) -> None:
    import asyncio
    import logging
    import signal

    from aiohttp import web

    from config.addresses import url_of
    from workers.monitoring.exporter import exporter_app

    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    runner = web.AppRunner(exporter_app(settings), access_log=None, shutdown_timeout=GRACE)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        logging.getLogger("relais.exporter").info("ready", extra={"url": url_of(*runner.addresses[0][:2])})
        await stop.wait()
    finally:
        await runner.cleanup()
