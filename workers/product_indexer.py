"""The indexer: a thread in every worker's main process that keeps the index of products a moment behind the intake.

One at a time works, under a lock that ends with its transaction, on a connection of its own, so that no tick of the
dispatcher waits for it. It rests four times as long as it works: of a journal that is busy it takes a fifth of one
connection at most, and falls behind rather than slow a drain. The search says how far it is.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from config.settings import Settings
from orders.journal import connect, unreachable
from orders.queries.products import Filling
from workers.background import Background

log = logging.getLogger("relais.indexer")

IDLE_PAUSE: Final = 2.0  # seconds between two looks when there is nothing to do
REST: Final = 4.0  # times as long as a step took, before the next
STATEMENT_TIMEOUT: Final = 60.0  # seconds


class Indexer(Background):
    """One candidate; does nothing where RELAIS_PRODUCT_SEARCH is off."""

    def __init__(self, settings: Settings) -> None:
        """Nothing connects yet."""
        super().__init__("indexer")
        self._settings = settings
        self._filling = Filling()

    def start(self) -> None:
        """Begin, unless it is switched off."""
        if self._settings.console.product_search:
            super().start()

    async def _run(self) -> None:
        engine = connect(self._settings.need("database_url"), pool=1, timeout=STATEMENT_TIMEOUT)
        while not self._stopping.is_set():
            began, more = time.monotonic(), False
            try:
                step = await self._filling.step(engine)
                more = step is not None and step.more
            except Exception as error:
                if unreachable(error):
                    log.debug("the journal is out of reach, indexing later", extra={"error": type(error).__name__})
                else:
                    log.exception("indexing failed")
            rest = REST * (time.monotonic() - began)
            await self._pause(rest if more else max(IDLE_PAUSE, rest))
        await engine.dispose()
