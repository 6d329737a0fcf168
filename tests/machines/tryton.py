"""A real Tryton on a PostgreSQL of its own, as `make erp-tools` prepares it in `.tools/tryton`."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from config.embedded.process import Process, Program
from tests.machines.tools import ROOT
from tests.waiting import until

HOME: Final = ROOT / ".tools" / "tryton"
SEED, BIN, READY = HOME / "seed", HOME / "venv" / "bin", HOME / "ready"
DATABASE, USER, PASSWORD = "tryton", "admin", "a password of Tryton's"
COMPANY = CURRENCY = 1
PHARMACIES: Final = tuple(f"P{number:02}" for number in range(20))

UNIQUE: Final = """
CREATE UNIQUE INDEX relais_sale_reference ON sale_sale (company, reference)
WHERE state <> 'cancelled' AND reference ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
"""
APPLICATION: Final = """
INSERT INTO res_user_application (key, "user", application, state)
SELECT $1, id, 'rest', 'validated' FROM res_user WHERE login = 'admin'
"""
WAREHOUSES: Final = "SELECT id FROM stock_location WHERE type = 'warehouse' ORDER BY id"
EFFECTS: Final = """
SELECT reference, count(*) FROM sale_sale WHERE state IN ('processing', 'done') AND reference IS NOT NULL GROUP BY 1
"""


def configuration(directory: Path, postgres: Postgres, port: int) -> Path:
    """Tryton's own configuration, listening on `port`."""
    file = directory / "trytond.conf"
    uri = postgres.database_url("").rstrip("/")
    file.write_text(f"[database]\nuri = {uri}\npath = {directory}/files\n[web]\nlisten = 127.0.0.1:{port}\n")
    return file


class Tryton:
    """One Tryton, which a test may take away."""

    def __init__(self, directory: Path, leash: Leash) -> None:
        self.directory, self._leash, self.port = directory, leash, choose()
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "--archive", f"{SEED}/.", str(directory)], check=True)
        self.postgres = Postgres(directory, choose(), settings={"shared_buffers": "64MB", "max_connections": "100"})
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: Process | None = None

    def start(self) -> None:
        """Start what is not running, and wait until it answers."""
        if not self.started:
            self.postgres.start(self._leash)
        self.start_server()

    def start_server(self) -> None:
        """Tryton itself."""
        config = configuration(self.directory, self.postgres, self.port)
        argv = (str(BIN / "trytond"), "-c", str(config), "-d", DATABASE)
        self._process = Process(Program("trytond", argv, self.directory / "trytond.log", {}, grace=5.0))
        self._leash.hold(self._process.mark)
        until(self._answers, 60, what="Tryton answers")

    def _answers(self) -> bool:
        async def ask() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                return False
            writer.close()
            return True

        return asyncio.run(ask())

    @property
    def started(self) -> bool:
        """Whether it was ever started."""
        return self._process is not None

    def signal(self, number: int) -> None:
        """Send Tryton a signal."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL Tryton."""
        assert self._process is not None
        self._process.kill()
        self._process.end()
        self._leash.drop(self._process.mark)

    def stop(self) -> None:
        """End all of it."""
        if self._process is not None:
            self._process.end()
        self.postgres.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def sql(self, statement: str, *values: object) -> list[Any]:
        """What its own database says."""

        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.postgres.database_url(DATABASE))
            try:
                return list(await connection.fetch(statement, *values))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def effects(self) -> Counter[UUID]:
        """How many sales that are taken each order has."""
        return Counter({UUID(reference): count for reference, count in self.sql(EFFECTS)})


def present() -> None:
    """Skip the test where `make erp-tools` was not run."""
    if not READY.exists():
        pytest.skip("there is no Tryton: run `make erp-tools`")
