"""PostgreSQL for tests. One a session holds a database a test, copied from a migrated one; nothing kills it, so it need
not wait for the disk. A server of a test's own, which may be killed, keeps fsync on. The files of either are made and
migrated once a run, by the first of pytest's processes that needs them, and copied.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psutil

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from orders.schema.migrate import migrate
from tests.journal import execute
from tests.machines.roles import PASSWORDS, SUPERUSER

SMALL = {"shared_buffers": "32MB", "max_wal_size": "256MB", "max_connections": "200"}
UNHURRIED = {**SMALL, "fsync": "off", "wal_compression": "off"}
COPY = "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy"
SHARED = "TESTS_SEED"  # the variable by which the processes of a run know where its files are


def seed(data_dir: Path) -> None:
    """Put a migrated, empty journal where the embedded PostgreSQL of this data directory will find it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", *_migrated(), str(data_dir)], check=True)


@contextmanager
def shared_seed() -> Iterator[None]:
    """Inside, this process and those that it starts copy from one place; the outermost removes it."""
    if SHARED in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="relais-test-", ignore_cleanup_errors=True) as home:
        os.environ[SHARED] = home
        try:
            yield
        finally:
            del os.environ[SHARED]
            _migrated.cache_clear()


@cache
def _migrated() -> tuple[str, str]:
    home = Path(os.environ[SHARED])
    made = home / "made"
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _migrate(home / "draft")
            (home / "draft").rename(made)
    return str(made / "postgres"), str(made / "postgres.password")


def _migrate(home: Path) -> None:
    server = Postgres(home, choose(), UNHURRIED)
    with Leash() as leash:
        server.start(leash)
        migrate(server.url, passwords=PASSWORDS)
        asyncio.run(execute(server.url, SUPERUSER))
        server.stop()


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A server all of whose processes hold their connections and answer nothing."""
    one = psutil.Process(pid)
    every = [one, *one.children(recursive=True)]
    for each in every:
        each.suspend()
    try:
        yield
    finally:
        for each in every:
            each.resume()
