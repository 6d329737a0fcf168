"""What `relais status` loads to answer: a cron job that asks every few seconds must not pay for more."""

from config.settings import Settings
from tests.cli import clean_environment, environment, modules_after, ours
from tests.journal import Journal

HEAVY = (
    *("aiohttp", "alembic", "babel", "celery", "cryptography.hazmat", "fastapi", "jinja2", "kombu", "lxml"),
    *("opentelemetry.sdk", "psutil", "prometheus_client", "redis.asyncio.cluster", "sqlalchemy.orm"),
    *("starlette", "structlog", "tenacity", "tornado", "uvicorn", "uvloop", "yaml"),
)


def test_status_loads_only_what_it_asks(settings: Settings) -> None:
    loaded = modules_after(clean_environment(environment(settings)), "status")
    assert "workers.monitoring.status" in loaded
    assert loaded.isdisjoint(HEAVY)
    assert len(ours(loaded)) <= 81, " ".join(sorted(ours(loaded)))


def test_a_backlog_adds_its_forecast_and_no_more(settings: Settings, journal: Journal) -> None:
    journal.accept(1)
    loaded = modules_after(clean_environment(environment(settings)), "status", "--json")
    assert "workers.forecast.forecast" in loaded
    assert loaded.isdisjoint(HEAVY)
    assert len(ours(loaded)) <= 86, " ".join(sorted(ours(loaded)))
