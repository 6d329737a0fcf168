"""The leader's samples of how Relais stands (`orders.queries.samples`), which cost its rounds a fiftieth at most.

The backlog is counted along its indexes, which takes the longer the larger it is: so it is counted the more seldom,
and not at all for a while when it took too long; the samples between are without it.
"""

from __future__ import annotations

import time
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.queries.samples import CHEAP, RESET_LIMIT, SET_LIMIT, WHOLE, thin

SHARE: Final = 50  # times what counting took pass until it is counted again


class Sampler:
    """One leader's."""

    def __init__(self) -> None:
        """Nothing was taken yet."""
        self._count_at = float("-inf")

    async def take(self, connection: AsyncConnection) -> None:
        """Write a sample, and delete what older ones need not be kept. Raises what the journal raises."""
        began = time.monotonic()
        if began < self._count_at or not await self._count(connection):
            await connection.execute(CHEAP)
        await thin(connection)

    async def _count(self, connection: AsyncConnection) -> bool:
        """Whether a sample could be written with the backlog counted."""
        began = time.monotonic()
        await connection.execute(SET_LIMIT)
        try:
            await connection.execute(WHOLE)
        except DBAPIError as error:
            if error.orig is None or not isinstance(error.orig.__cause__, asyncpg.QueryCanceledError):
                raise
            return False
        finally:
            await connection.execute(RESET_LIMIT)
            ended = time.monotonic()
            self._count_at = ended + SHARE * (ended - began)
        return True
