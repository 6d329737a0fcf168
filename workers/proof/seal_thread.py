"""The sealer: a thread in every worker's main process that sees to it that what is journalled is sealed soon.

Every one of them looks, once a second and cheaply, whether a block is due: after RELAIS_SEAL_EVERY or MOST_UNSEALED
rows. Who sees it first seals it, on connections of its own, so that no tick of the dispatcher waits for it.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.journal import connect, unreachable
from orders.schema.tables.proof import SEALED
from workers.background import Background
from workers.proof.anchor import Place, place_of
from workers.proof.keys import keys_of
from workers.proof.seal_block import CannotSeal, seal_now

log = logging.getLogger("relais.seal")

LOOK_EVERY: Final = 1.0  # seconds between two looks
MOST_UNSEALED: Final = 10_000  # rows after which a block is sealed sooner, so that each is quick to check
STATEMENT_TIMEOUT: Final = 600.0  # seconds; a first block may hold a whole journal

# Rows inserted, by PostgreSQL's own statistics (a hint that costs nothing), and seconds since the last seal.
STANDING: Final = text(f"""
SELECT coalesce(sum(n_tup_ins), 0), (
  SELECT extract(epoch FROM clock_timestamp() - sealed_at) FROM seals WHERE sealed_at <= clock_timestamp()
  ORDER BY block DESC LIMIT 1)
FROM pg_stat_user_tables WHERE relname IN ({", ".join(f"'{table.name}'" for table in SEALED)})
""")


class Sealer(Background):
    """One candidate; without a key it does nothing but say so. A block that is being sealed when it is stopped is
    given up after a while, which costs nothing.
    """

    def __init__(self, settings: Settings) -> None:
        """Nothing connects yet."""
        super().__init__("sealer")
        self._settings = settings
        self._keys = keys_of(settings.proof.key)
        self._place: Place | None = place_of(settings.proof.anchor, self._keys) if settings.proof.anchor else None
        self._seen, self._tried_at = 0, float("-inf")
        self._error: str | None = None

    def start(self) -> None:
        """Begin to look."""
        if not self._keys:
            log.warning("nothing is sealed, RELAIS_SEAL_KEY is not set")
            return
        super().start()

    async def _run(self) -> None:
        engine = connect(self._settings.need("database_url"), pool=2, timeout=STATEMENT_TIMEOUT)
        while not self._stopping.is_set():
            try:
                await self._look(engine)
            except CannotSeal as error:
                self._say(str(error))
            except Exception as error:
                if unreachable(error):
                    extra = {"error": type(error).__name__}
                    log.info("the journal is out of reach, sealing later", extra=extra)
                else:
                    log.exception("sealing failed")
            await self._pause(min(LOOK_EVERY, self._settings.proof.every / 2))
        await engine.dispose()

    async def _look(self, engine: AsyncEngine) -> None:
        """Seal when the last seal is old enough, whoever made it, or much was written since we last tried."""
        async with engine.connect() as connection:
            inserted, age = (await connection.execute(STANDING)).one()
        idle = time.monotonic() - self._tried_at
        quiet = min(idle, idle if age is None else float(age)) < self._settings.proof.every
        if quiet and abs(int(inserted) - self._seen) < MOST_UNSEALED:
            return
        self._seen, self._tried_at = int(inserted), time.monotonic()
        done = await seal_now(engine, self._keys, self._place, wait=False)
        if done is None:
            return
        self._say(done.error and f"the anchor cannot be written: {done.error}")
        if done.seal is not None:
            log.info("sealed", extra={"block": done.seal.block, "rows": done.seal.rows})

    def _say(self, error: str | None) -> None:
        """Tell what is wrong once, not every minute."""
        if error != self._error:
            if error:
                log.error("nothing is sealed", extra={"why": error})
            else:
                log.info("sealing goes on")
        self._error = error
