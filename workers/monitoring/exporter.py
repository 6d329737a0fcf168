"""The exporter: one small server that reads how the installation stands whenever Prometheus asks.

Everything comes from the journal and from Redis, so it is right however many processes there are, and across their
restarts. A store that is away is a metric, never an error: an answer comes within 3 s. Scrapes that come at the same
time share one reading.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from hmac import compare_digest
from typing import Final, TypeVar

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import CollectorRegistry

from config.settings import Settings
from config.settings.routes_file import load_backends
from orders.access.key_cache import bearer_of
from orders.api.metrics import Families
from orders.journal import connect, snapshot, unreachable
from workers.forecast.forecast import draining
from workers.forecast.foretold import Forecast
from workers.monitoring.catalogue import family
from workers.monitoring.environment import build_families, disk_families, forecast_families, queue_families
from workers.monitoring.families import journal_families
from workers.monitoring.snapshot import Snapshot, read_figures
from workers.monitoring.status import Queue, queue

log = logging.getLogger("relais.exporter")

SCRAPE_TIMEOUT: Final = 2.5  # seconds for all that is asked, side by side
STATEMENT_TIMEOUT: Final = 2.0  # seconds for one statement
FORECAST_EVERY: Final = 15.0  # seconds that a forecast is kept; making it reads more than all the rest

T = TypeVar("T")


class Exporter:
    """Reads and renders. Belongs to one event loop."""

    def __init__(self, settings: Settings) -> None:
        """Nothing connects yet. Raises what the file of backends has to say."""
        self._settings = settings
        self._backends = load_backends(settings)
        self._engine = connect(settings.need("database_url"), pool=3, timeout=STATEMENT_TIMEOUT)
        self._reading: asyncio.Task[bytes] | None = None
        self._forecast: Sequence[Forecast] = ()
        self._foretold = float("-inf")

    async def scrape(self) -> bytes:
        """The metrics in Prometheus' text format, as of a reading that ended after the call."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        return await asyncio.shield(self._reading)

    async def close(self) -> None:
        """Let go of connections."""
        await self._engine.dispose()

    async def _read(self) -> bytes:
        figures, said, forecasts = await asyncio.gather(
            _within(self._figures()), _within(queue(self._settings)), _within(self._foretell())
        )
        return render(self._settings, list(self._backends), figures, said, forecasts or ())

    async def _figures(self) -> Snapshot | None:
        """None while the journal is away."""
        try:
            async with snapshot(self._engine) as connection:
                return await read_figures(connection, self._settings)
        except Exception as error:
            if unreachable(error):
                log.warning("the journal is out of reach", extra={"error": type(error).__name__})
            else:
                log.exception("the journal cannot be read")
            return None

    async def _foretell(self) -> Sequence[Forecast]:
        if time.monotonic() - self._foretold >= FORECAST_EVERY:
            try:
                self._forecast = await draining(self._engine, self._settings)
            except Exception:
                log.exception("nothing can be foretold")
                self._forecast = ()
            self._foretold = time.monotonic()
        return self._forecast


async def _within(work: Awaitable[T]) -> T | None:
    """What the work returns, or None when it takes too long; it is told to stop, and not waited for."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=SCRAPE_TIMEOUT)
    if done:
        return task.result()
    task.cancel()
    task.add_done_callback(lambda late: late.cancelled() or late.exception())
    return None


def render(
    settings: Settings,
    backends: Sequence[str],
    figures: Snapshot | None,
    said: Queue | None,
    forecasts: Sequence[Forecast],
) -> bytes:
    """What was found, in Prometheus' text format; None is what did not answer."""
    found: list[Metric] = [*build_families(), *queue_families(said), *disk_families(settings)]
    if figures is None:
        found.append(family("relais_journal_up", 0))
    else:
        busy = {row["backend"] for row in figures.backlog}
        idle = [name for name in backends if name not in busy]
        found += [*journal_families(figures, backends), *forecast_families(forecasts, idle)]
    registry = CollectorRegistry()
    registry.register(Families(found))
    return generate_latest(registry)


def exporter_app(settings: Settings) -> web.Application:
    """`GET /metrics`, for who has RELAIS_METRICS_TOKEN where it is set, and `GET /healthz`."""
    exporter = Exporter(settings)
    token = settings.monitoring.metrics_token

    async def metrics(request: web.Request) -> web.Response:
        said = bearer_of(request.headers.get("Authorization", "")).encode()
        if token is not None and not compare_digest(said, token.get_secret_value().encode()):
            return web.Response(status=401, text="RELAIS_METRICS_TOKEN is asked for\n", headers=CHALLENGE)
        return web.Response(body=await exporter.scrape(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def close(app: web.Application) -> None:
        await exporter.close()

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", health)])
    app.on_cleanup.append(close)
    return app


CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
