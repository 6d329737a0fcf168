"""What a connection that was lost in the middle of a transaction says of the journal."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from orders.journal import connect, unreachable
from orders.journal.hosts import reach


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


def test_a_connection_that_does_not_end_in_time_is_cut_and_no_error_that_nobody_hears(database_url: str) -> None:
    async def close() -> list[object]:
        unheard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: unheard.append(told))
        connection = await reach(database_url, timeout=5)
        pid = connection.get_server_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            waiting = asyncio.shield(connection.close(timeout=0.2))
            await asyncio.sleep(0)
            waiting.cancel()  # as an answer that ran out of time while it let its connection go
            await asyncio.sleep(0.5)
            gc.collect()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert connection.is_closed()
        return unheard

    assert asyncio.run(close()) == []
