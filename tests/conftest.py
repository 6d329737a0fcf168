"""Real servers for tests: one PostgreSQL and one Valkey a process, one database a test.

The servers are on a leash: they end with pytest, however it ends.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from argon2 import PasswordHasher

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from config.embedded.valkey import Valkey
from config.settings import Settings
from tests.bench import OnBench, with_bench
from tests.journal import Journal
from tests.machines.journals import Journals
from tests.machines.roles import login, process_of
from tests.machines.servers import UNHURRIED, seed, shared_seed


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which ERPs the conformance suite tries (docs/connectors.md)."""
    kinds = parser.getgroup("erp")
    kinds.addoption(
        "--erp-kind", action="append", help="a kind of ERP that tests/conformance tries; several times for several"
    )
    kinds.addoption("--erp-counterpart", help="MODULE:CLASS of the ERP that --erp-kind is tried against")


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM ends a run as Ctrl-C does: fixtures are torn down. What a test starts hears Ctrl-C also where the shell
    that runs the tests in its background has it ignored.
    """
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.default_int_handler)
    gc.disable()
    stack = ExitStack()
    config.add_cleanup(stack.close)
    stack.enter_context(shared_seed())


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: no collector looks through it again and again."""
    gc.freeze()
    gc.enable()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Hostile text stays out of a test's name, which travels between processes as UTF-8."""
    return ascii(val) if isinstance(val, str) and not val.isprintable() else None


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What a test set up for its own process's logs ends with it: its stream is closed by then."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def leash() -> Iterator[Leash]:
    """Hold what a test starts as a process: `leash.hold(mark)`."""
    with Leash() as leash:
        yield leash


@pytest.fixture(scope="session")
def servers_dir() -> Iterator[Path]:
    """Data of the session's servers; not in pytest's own directory, which it closes to PostgreSQL's user."""
    path = Path(tempfile.mkdtemp(prefix="relais-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty data directory for a `relais up` or a server of the test's own."""
    path = Path(tempfile.mkdtemp(prefix="relais-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def server(leash: Leash, data_dir: Path) -> Iterator[Valkey]:
    """A Valkey of the test's own, to be frozen, killed or configured."""
    valkey = Valkey(data_dir, choose())
    valkey.start(leash)
    yield valkey
    valkey.stop()


@pytest.fixture(scope="session")
def postgres(leash: Leash, servers_dir: Path) -> Iterator[Postgres]:
    """The session's PostgreSQL, for all but those who kill theirs. A test that stops it starts it again."""
    seed(servers_dir)
    server = Postgres(servers_dir, choose(), settings=UNHURRIED)
    server.start(leash)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey(leash: Leash, servers_dir: Path) -> Iterator[Valkey]:
    """The session's Valkey. A test that kills it starts it again."""
    server = Valkey(servers_dir, choose())
    server.start(leash)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def journals(postgres: Postgres) -> Journals:
    """Migrated, empty journals on the session's PostgreSQL."""
    return Journals(postgres)


@pytest.fixture
def process(request: pytest.FixtureRequest) -> str | None:
    """The process whose code a test runs, hence its role in the journal; a file of tests may say another."""
    return process_of(request.path)


@pytest.fixture
def owner_url(postgres: Postgres, journals: Journals) -> Iterator[str]:
    """A migrated, empty journal of the test's own, as its owner."""
    name = journals.take()
    yield postgres.database_url(name)
    journals.give_back(name)


@pytest.fixture
def database_url(owner_url: str, process: str | None) -> str:
    """The same as the process that the test is about."""
    return login(owner_url, process)


@pytest.fixture
def redis_url(valkey: Valkey) -> str:
    """An empty Valkey."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


@pytest.fixture
def settings(database_url: str, redis_url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings on the test's journal and queue, with an intake's port on which nobody of this machine listens;
    `settings.replace(…)` changes more.
    """
    for name in [name for name in os.environ if name.startswith("RELAIS_")]:
        monkeypatch.delenv(name)
    return Settings(
        database_url=database_url, redis_url=redis_url, data_dir=data_dir, api_port=choose(), _env_file=None
    )


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that take next to nothing to hash, where a test is not about what that costs."""
    cost = partial(PasswordHasher, time_cost=1, memory_cost=1024, parallelism=1)
    monkeypatch.setattr("workers.console.access.passwords.PasswordHasher", cost)


@pytest.fixture
def on_bench(settings: Settings) -> OnBench:
    """Run work at a bench on the test's journal."""
    return partial(with_bench, settings)


@pytest.fixture
def journal(owner_url: str) -> Journal:
    """The test's journal, from outside of any event loop."""
    return Journal(owner_url)


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine to its end on a fresh event loop."""
    return asyncio.run
