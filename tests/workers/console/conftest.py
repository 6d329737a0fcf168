"""A console on the test's journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from config.settings import Settings
from tests.bench import Bench
from tests.waiting import BUSY
from tests.workers.console.journalled import Work
from tests.workers.console.site import serving
from workers.console import journal_timeout, state
from workers.console.access import sessions
from workers.console.live import series
from workers.console.recovery import cached


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that is slow is not out; the tests of one that is set their own times."""
    for module, name in (
        (sessions, "FIND_TIMEOUT"),
        (state, "KEY_TIMEOUT"),
        (series, "SERIES_TIMEOUT"),
        (journal_timeout, "PAGE_TIMEOUT"),
        (cached, "READ_TIMEOUT"),
    ):
        monkeypatch.setattr(module, name, BUSY)


@pytest.fixture
def at_console(settings: Settings) -> Callable[[Work], None]:
    """Run work at a console that is served, with a bench on its engine."""

    def run(work: Work) -> None:
        async def main() -> None:
            async with serving(settings) as site:
                await work(site, Bench(site.app.state.console.engine, settings, site.logins))

        asyncio.run(main())

    return run
