"""PostgreSQL for tests. One a session holds a database a test, copied from a migrated one; nothing kills it, so it need
not wait for the disk. A server of a test's own, which may be killed, keeps fsync on; its files are made and migrated
once a session, and copied.
"""

from __future__ import annotations

import shutil
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

SMALL = {"shared_buffers": "32MB", "max_wal_size": "256MB", "max_connections": "200"}
UNHURRIED = {**SMALL, "fsync": "off", "wal_compression": "off"}
COPY = "CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy"


def seed(data_dir: Path) -> None:
    """Put a migrated, empty journal where the embedded PostgreSQL of this data directory will find it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", *_migrated(), str(data_dir)], check=True)


def forget_seed() -> None:
    """Remove what `seed` copies from."""
    if _migrated.cache_info().currsize:
        shutil.rmtree(Path(_migrated()[0]).parent, ignore_errors=True)
        _migrated.cache_clear()


@cache
def _migrated() -> tuple[str, str]:
    home = Path(tempfile.mkdtemp(prefix="relais-test-"))
    server = Postgres(home, choose(), UNHURRIED)
    with Leash() as leash:
        server.start(leash)
        migrate(server.url)
        server.stop()
    return str(home / "postgres"), str(home / "postgres.password")


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
