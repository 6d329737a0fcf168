"""What a connection that was lost in the middle of a transaction says of the journal."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from orders.journal import connect, unreachable


def test_a_statement_after_the_one_that_lost_the_connection_says_that_the_journal_is_out_of_reach(
    database_url: str,
) -> None:
    async def lose() -> None:
        engine = connect(database_url)
        try:
            async with engine.connect() as connection, connection.begin():
                with suppress(DBAPIError):
                    await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
                await connection.execute(text("SELECT 1"))
        finally:
            await engine.dispose()

    with pytest.raises(PendingRollbackError) as found:
        asyncio.run(lose())
    assert unreachable(found.value)
