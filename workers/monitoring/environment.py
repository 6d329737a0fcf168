"""What stands around the journal, as Prometheus' metrics: Redis, disks, the forecast, this program's version."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import Metric

from config.settings import Settings
from workers.forecast.foretold import Forecast
from workers.monitoring.catalogue import Labels, family
from workers.monitoring.status import Queue

QUANTILES: Final = ("0.5", "0.95")


def queue_families(queue: Queue | None) -> Iterator[Metric]:
    """What Redis said; None when it said nothing in time."""
    yield family("relais_redis_up", queue is not None and queue.reachable)
    if queue is None:
        return
    for name, value in (
        ("relais_spill_orders", queue.spilled),
        ("relais_queue_messages", queue.depth),
        ("relais_redis_memory_used_bytes", queue.memory),
        ("relais_redis_memory_max_bytes", queue.memory_max),
        ("relais_queue_foreign_total", queue.aside),
    ):
        if value is not None:
            yield family(name, value)


def disk_families(settings: Settings) -> Iterator[Metric]:
    """The disks of RELAIS_DISKS; a path that is not there is left out."""
    free: dict[Labels, float] = {}
    size: dict[Labels, float] = {}
    for path in disks(settings):
        try:
            usage = shutil.disk_usage(path)
        except OSError:
            continue
        free[(str(path),)], size[(str(path),)] = usage.free, usage.total
    yield family("relais_disk_free_bytes", free)
    yield family("relais_disk_size_bytes", size)


def disks(settings: Settings) -> list[Path]:
    """The paths whose disks are watched."""
    if settings.monitoring.disks is None:
        return [settings.files.data_dir]
    return [Path(each.strip()) for each in settings.monitoring.disks.split(",") if each.strip()]


def forecast_families(forecasts: Sequence[Forecast], idle: Collection[str]) -> Iterator[Metric]:
    """What is foretold of every backend that has a backlog, and 0 of those that are `idle`.

    What cannot be foretold is absent.
    """
    missed: dict[Labels, float] = {(name,): 0 for name in idle}
    drain: dict[Labels, float] = {(name, quantile): 0 for name in idle for quantile in QUANTILES}
    for each in (one for one in forecasts if one.backend not in idle):  # a forecast may be older than the figures
        late = [one["late_p50"] for one in each.cut_offs]  # a drain without an end misses its cut-offs all the same
        if None not in late and (late or each.p50 is not None):
            missed[(each.backend,)] = sum(late)
        for quantile, at in zip(QUANTILES, (each.p50, each.p95), strict=True):
            if at is not None:
                drain[each.backend, quantile] = max(0.0, (at - each.now).total_seconds())
    yield family("relais_forecast_missed_cut_off_orders", missed)
    yield family("relais_forecast_drain_seconds", drain)


def build_families() -> Iterator[Metric]:
    """Which version this is."""
    try:
        built = version("relais")
    except PackageNotFoundError:
        built = "unknown"
    yield family("relais_build_info", {(built,): 1})
