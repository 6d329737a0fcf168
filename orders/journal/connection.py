"""The journal's door: engines, migrations, and what a lost connection means.

Engines are asynchronous only. Statements that stand alone run in autocommit: one round trip and one fsync each.
Connections are not pinged before use; who uses one retries what is safe to retry (`unreachable` tells). One that
takes no writes, since it turns out to be a standby's, is as good as lost, and so is every other of its pool.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from orders.journal.hosts import listener_dsn, reach

log = logging.getLogger("relais.journal")

T = TypeVar("T")

DUE_CHANNEL: Final = "relais_due"
WAKE: Final = text(f"SELECT pg_notify('{DUE_CHANNEL}', '')")  # the dispatcher, when the transaction commits
SNAPSHOT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
# This transaction's commit waits for the disk whatever role, database, server, URL or pooler have set; what is stricter
# than `on` stays. For whoever writes, a trigger does so (`orders.schema.triggers`).
DURABLE: Final = """set_config('synchronous_commit', CASE current_setting('synchronous_commit')
WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)"""
# Waits, where PostgreSQL has synchronous standbys, until they have all that the statement sees: what a cancelled
# commit left behind is there for everybody, and may be on no other disk.
REPLICATED: Final = f"""
CASE WHEN current_setting('synchronous_standby_names') <> '' AND {DURABLE} <> ''
THEN pg_logical_emit_message(true, 'relais', '') END
"""
SURE: Final = text(f"SELECT {REPLICATED}")
# No server at any time would write it (SQLSTATE classes 22 and 54, and what the driver cannot encode). Whatever else
# keeps a row out is the journal's own matter: its log-ins, rights, tables, room.
AT_FAULT: Final = (asyncpg.DataError, asyncpg.ProgramLimitExceededError, ValueError)
AWAY: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,
)


def connect(url: str, *, pool: int = 4, timeout: float = 10.0) -> AsyncEngine:
    """An engine on the journal for `postgresql://…`; `timeout` (s) bounds connecting and every statement.

    Nothing connects yet. At most `pool` connections are open at once.
    """
    settings = {"application_name": "relais", "timezone": "UTC", "jit": "off"}
    listener_dsn(url)  # a URL that is none is told now
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: reach(url, timeout=min(timeout, 5.0), command_timeout=timeout, server_settings=settings),
        pool_size=pool,
        max_overflow=0,
        pool_timeout=timeout,
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,  # an exception's text ends up in logs, an order's content must not
    )
    event.listen(engine.sync_engine, "handle_error", _give_up_a_standby)
    return engine


def _give_up_a_standby(context: ExceptionContext) -> None:
    if _takes_no_writes(context.original_exception):
        context.is_disconnect = True


def _takes_no_writes(error: BaseException | None) -> bool:
    return isinstance(getattr(error, "__cause__", None), asyncpg.ReadOnlySQLTransactionError)


def read_only(error: DBAPIError) -> bool:
    """True when the error says that the journal takes no writes: it is a standby, or somebody set it so."""
    return _takes_no_writes(error.orig)


def transactional(engine: AsyncEngine) -> AsyncEngine:
    """The same pool, for statements that must commit together."""
    return engine.execution_options(isolation_level="READ COMMITTED")


Source = AsyncEngine | AsyncConnection  # what reads the journal: the newest, or what one connection's snapshot holds


@asynccontextmanager
async def reading_from(source: Source) -> AsyncIterator[AsyncConnection]:
    """A connection of the engine, or the one that is given, which stays open."""
    if isinstance(source, AsyncConnection):
        yield source
        return
    async with source.connect() as connection:
        yield connection


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection on which every statement sees the journal as it was at the first one, and none can write."""
    async with transactional(engine).connect() as connection:
        await connection.execute(SNAPSHOT)
        yield connection


def unreachable(error: BaseException) -> bool:
    """True when the error says that the journal was out of reach, so that nothing is known of the statement."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        # SQLAlchemy's asyncpg adapter keeps asyncpg's own exception as the cause of its DBAPI one.
        cause = error.orig.__cause__
        lost = isinstance(cause, (*AWAY, asyncpg.InterfaceError, asyncpg.InsufficientResourcesError, OSError))
        return lost or error.connection_invalidated
    kinds = (OSError, TimeoutError, PoolTimeout, OperationalError, InterfaceError, asyncpg.InterfaceError)
    return isinstance(error, (*kinds, *AWAY, PendingRollbackError))  # the last: lost before, in the same transaction


def refused(error: BaseException) -> bool:
    """True when the error says that PostgreSQL answers, and would not have what it was told."""
    cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig is not None else None
    return isinstance(cause, asyncpg.PostgresError) and not isinstance(cause, AWAY)


def at_fault(error: BaseException) -> bool:
    """True when the error says that the row itself cannot be written, ever; of several rows, one of them."""
    return isinstance(error, DBAPIError) and error.orig is not None and isinstance(error.orig.__cause__, AT_FAULT)


async def insist(work: Callable[[], Awaitable[T]], remaining: float) -> T:
    """Do what settles; while the journal is out of reach, try again for the `remaining` seconds of the lease."""
    from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

    async for trying in AsyncRetrying(
        retry=retry_if_exception(unreachable),
        wait=wait_random_exponential(0.1, max=2),
        stop=stop_after_delay(max(1.0, remaining)),
        reraise=True,
    ):
        with trying:
            return await work()
    raise AssertionError("tenacity ends with an answer or an error")
