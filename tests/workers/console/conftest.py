"""A console on the test's journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from config.settings import Settings
from tests.bench import Bench
from tests.workers.console.journalled import Work
from tests.workers.console.site import serving


@pytest.fixture
def at_console(settings: Settings) -> Callable[[Work], None]:
    """Run work at a console that is served, with a bench on its engine."""

    def run(work: Work) -> None:
        async def main() -> None:
            async with serving(settings) as site:
                await work(site, Bench(site.app.state.console.engine, settings))

        asyncio.run(main())

    return run
