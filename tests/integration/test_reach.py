"""The journal behind several hosts, behind TLS, and behind a standby that has to have it and does not."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.account import give, lesser_account
from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from orders.entries import entry, write
from orders.journal import connect, migrate, unreachable
from orders.model import parse
from orders.reach import NoPrimary, hosts_of, reach
from orders.standing import Mode, Standing
from tests.certificates import self_signed
from tests.cluster import sql
from tests.conftest import SMALL

ORDER = b'{"pharmacy":"990000002","reference":"R","lines":[{"product":"3400937318044","quantity":2}]}'


@pytest.fixture(scope="module")
def own(leash: Leash) -> Iterator[tuple[Postgres, Path]]:
    """A migrated PostgreSQL of this module's own, which speaks TLS; and the certificate."""
    place = Path(tempfile.mkdtemp(prefix="relais-test-"))
    _, pem = self_signed(place, "postgres")
    key = Path(tempfile.mkdtemp(prefix="relais-test-")) / "server.pem"
    shutil.copy(pem, key)
    key.chmod(0o600)
    if (account := lesser_account()) is not None:
        give(key.parent, account)
        give(key, account)
    tls = {"ssl": "on", "ssl_cert_file": str(key), "ssl_key_file": str(key)}
    server = Postgres(place, choose(), settings={**SMALL, **tls})
    server.start(leash)
    migrate(server.url)
    yield server, pem
    server.stop()
    shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(key.parent, ignore_errors=True)


def behind(url: str, *before: int) -> str:
    """The URL with hosts of loopback in front of its own."""
    who, _, rest = url.partition("127.0.0.1")
    return f"{who}{''.join(f'127.0.0.1:{port},' for port in before)}127.0.0.1{rest}"


def asked(url: str) -> Any:
    async def ask() -> Any:
        connection = await reach(url, timeout=5)
        try:
            return await connection.fetchval("SELECT current_database()")
        finally:
            await connection.close()

    return asyncio.run(ask())


def on_engine(url: str, work: Callable[[AsyncEngine], Awaitable[Any]], timeout: float = 5) -> Any:
    async def run() -> Any:
        engine = connect(url, pool=2, timeout=timeout)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def test_hosts_that_refuse_or_say_nothing_are_passed_by(database_url: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = behind(database_url, choose(), silent.getsockname()[1])
        assert len(hosts_of(url)) == 3
        began = time.monotonic()
        assert asked(url) == database_url.rpartition("/")[2]
        assert time.monotonic() - began < 3


def test_when_no_host_takes_writes_each_says_why(database_url: str) -> None:
    name, gone = database_url.rpartition("/")[2], choose()
    query = text(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    async def close(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await connection.execute(query)

    on_engine(database_url, close)
    with pytest.raises(NoPrimary, match=rf"127.0.0.1:{gone}: .*; 127.0.0.1:\d+: takes no writes") as found:
        asked(behind(database_url, gone))
    assert unreachable(found.value)


def test_a_journal_that_turns_read_only_is_lost_with_its_whole_pool_and_found_again(database_url: str) -> None:
    write_one = text("CREATE TABLE IF NOT EXISTS kept (n int)")

    async def work(engine: AsyncEngine) -> None:
        async with engine.connect() as one, engine.connect() as other:
            for connection in (one, other):
                await connection.execute(text("SET default_transaction_read_only = on"))
        for _ in range(2):
            try:
                async with engine.connect() as connection:
                    await connection.execute(write_one)
            except DBAPIError as error:
                assert unreachable(error)
                break
        else:
            raise AssertionError("a read-only session was not used")
        for _ in range(2):
            async with engine.connect() as connection:
                await connection.execute(write_one)

    on_engine(database_url, work)


@pytest.mark.parametrize("url", ["postgresql://u@h1:1,h2:99999/x", "postgresql://u@h1,/x"])
def test_hosts_that_are_none_are_told_at_once(url: str) -> None:
    with pytest.raises(ArgumentError, match="no host with a port"):
        hosts_of(url)


def test_tls_is_verified_on_one_host_and_on_several(own: tuple[Postgres, Path], tmp_path: Path) -> None:
    server, certificate = own
    verified = f"?sslmode=verify-full&sslrootcert={certificate}"

    async def secured(engine: AsyncEngine) -> bool:
        query = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        async with engine.connect() as connection:
            return bool((await connection.execute(query)).scalar_one())

    for url in (server.url, behind(server.url, choose())):
        assert on_engine(url + verified, secured)
    _, other = self_signed(tmp_path, "other")
    for url in (server.url, behind(server.url, choose())):
        with pytest.raises(OSError, match="certificate verify failed"):
            asked(f"{url}?sslmode=verify-full&sslrootcert={other}")


def test_nothing_is_answered_for_that_a_standby_should_have_and_does_not(own: tuple[Postgres, Path]) -> None:
    """What a commit that was given up left behind is seen by all; it is no receipt, and no journal to go back to."""
    server, _ = own
    one = entry(parse(ORDER), "front", "erp")

    async def once(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await write(connection, [one])

    async def look(engine: AsyncEngine) -> tuple[int, Mode]:
        async with engine.connect() as connection:
            count = (await connection.execute(text("SELECT count(*) FROM orders"))).scalar_one()
        standing = Standing(engine, None)
        try:
            return int(count), await standing.look()
        finally:
            await standing.close()

    sql(server, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    sql(server, "SELECT pg_reload_conf()")
    try:
        for _ in range(2):
            with pytest.raises((TimeoutError, DBAPIError)) as given_up:
                on_engine(server.url, once, timeout=1)
            assert unreachable(given_up.value)
            assert on_engine(server.url, look, timeout=1) == (1, Mode.REFUSING)
    finally:
        sql(server, "ALTER SYSTEM RESET synchronous_standby_names")
        sql(server, "SELECT pg_reload_conf()")
    on_engine(server.url, once)
    assert on_engine(server.url, look) == (1, Mode.JOURNAL)


def test_a_url_of_several_hosts_is_told_without_its_password() -> None:
    from workers.cli.failure import Failure, journal_at

    url = "postgresql://u:secret@h1:1,h2/relais"
    with pytest.raises(Failure, match="the journal at h1:1,h2:5432/relais is out of reach") as told, journal_at(url):
        raise asyncpg.TargetServerAttributeNotMatched("none")
    assert "secret" not in str(told.value)
