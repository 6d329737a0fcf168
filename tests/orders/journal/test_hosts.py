"""The journal behind several hosts, behind TLS, and behind a standby that has to have it and does not."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from orders.intake.entries import entry, write
from orders.intake.store_switch import Mode, StoreSwitch
from orders.journal import unreachable
from orders.journal.hosts import NoPrimary, hosts_of, reach
from orders.model import parse
from tests.journal import on_engine
from tests.machines.cluster import sql
from tests.machines.servers import SMALL, seed
from tests.machines.tls import self_signed, tls_before
from workers.cli.failure import CommandFailed, journal_at

ORDER = b'{"pharmacy":"990000002","reference":"R","lines":[{"product":"3400937318044","quantity":2}]}'


@pytest.fixture
def own(leash: Leash, data_dir: Path) -> Iterator[Postgres]:
    """A migrated PostgreSQL of the test's own."""
    seed(data_dir)
    server = Postgres(data_dir, choose(), settings=SMALL)
    server.start(leash)
    yield server
    server.stop()


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


def test_tls_is_verified_on_one_host_and_on_several(database_url: str, postgres: Postgres, tmp_path: Path) -> None:
    _, pem = self_signed(tmp_path, "postgres")
    _, other = self_signed(tmp_path, "other")

    async def answers(engine: AsyncEngine) -> Any:
        async with engine.connect() as connection:
            return (await connection.execute(text("SELECT 1"))).scalar_one()

    with tls_before(postgres.port, pem, postgresql=True) as secured:
        alone = database_url.replace(f":{postgres.port}/", f":{secured}/")
        for url in (alone, behind(alone, choose())):
            assert on_engine(f"{url}?sslmode=verify-full&sslrootcert={pem}", answers) == 1
            with pytest.raises(OSError, match="certificate verify failed"):
                asked(f"{url}?sslmode=verify-full&sslrootcert={other}")


@pytest.mark.slow
def test_nothing_is_answered_for_that_a_standby_should_have_and_does_not(own: Postgres) -> None:
    """What a commit that was given up left behind is seen by all; it is no receipt, and no journal to go back to."""
    one = entry(parse(ORDER), "front", "erp")

    async def once(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            await write(connection, [one])

    async def look(engine: AsyncEngine) -> tuple[int, Mode]:
        async with engine.connect() as connection:
            count = (await connection.execute(text("SELECT count(*) FROM orders"))).scalar_one()
        store_switch = StoreSwitch(engine, None)
        try:
            return int(count), await store_switch.look()
        finally:
            await store_switch.close()

    sql(own, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    sql(own, "SELECT pg_reload_conf()")
    try:
        for _ in range(2):
            with pytest.raises((TimeoutError, DBAPIError)) as given_up:
                on_engine(own.url, once, timeout=1)
            assert unreachable(given_up.value)
            assert on_engine(own.url, look, timeout=1) == (1, Mode.REFUSING)
    finally:
        sql(own, "ALTER SYSTEM RESET synchronous_standby_names")
        sql(own, "SELECT pg_reload_conf()")
    on_engine(own.url, once)
    assert on_engine(own.url, look) == (1, Mode.JOURNAL)


def test_a_url_of_several_hosts_is_told_without_its_password() -> None:
    url = "postgresql://u:secret@h1:1,h2/relais"
    with (
        pytest.raises(CommandFailed, match="the journal at h1:1,h2:5432/relais is out of reach") as told,
        journal_at(url),
    ):
        raise NoPrimary("h1:1: takes no writes")
    assert "secret" not in str(told.value)
