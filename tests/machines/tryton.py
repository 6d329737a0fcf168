"""A real Tryton on a PostgreSQL of its own, as `make erp-tools` prepares it in `.tools/tryton`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.postgres import Postgres, binary
from config.embedded.process import Process, Program
from tests.machines.tools import ROOT
from tests.waiting import until

HOME: Final = ROOT / ".tools" / "tryton"
SEED, BIN, READY = HOME / "seed", HOME / "venv" / "bin", HOME / "ready"
DATABASE, USER, PASSWORD = "tryton", "admin", "a password of Tryton's"
COMPANY = CURRENCY = 1
PHARMACIES: Final = tuple(f"P{number:02}" for number in range(20))
CUSTOMERS: Final = tuple(f"C{number}" for number in range(10_001, 11_801))  # the demo's pharmacies
PRICE_LISTS: Final = {"officines": [[10, "unit_price * Decimal('0.8')"], [None, "unit_price * Decimal('0.9')"]]}
WAREHOUSE: Final = "NORD"

UNIQUE: Final = """
CREATE UNIQUE INDEX relais_sale_reference ON sale_sale (company, reference)
WHERE state <> 'cancelled' AND reference ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
"""
APPLICATION: Final = """
INSERT INTO res_user_application (key, "user", application, state)
SELECT $1, id, 'rest', 'validated' FROM res_user WHERE login = 'admin'
"""
SPARE: Final = "SELECT code, id, template FROM product_product ORDER BY id DESC LIMIT 4"  # that no other test orders
REPLACE: Final = """
CREATE OR REPLACE FUNCTION put_another() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.product = {was} THEN NEW.product := {other}; END IF; RETURN NEW; END $$
"""
REPLACES: Final = """
CREATE OR REPLACE TRIGGER another BEFORE INSERT ON sale_line FOR EACH ROW EXECUTE FUNCTION put_another()
"""
LATER: Final = "INSERT INTO product_lead_time (template, lead_time) VALUES ($1, interval '3 days')"
WITHDRAW: Final = "UPDATE product_product SET active = $3, replaced_by = $2 WHERE id = $1"
OWN_LIST: Final = """
UPDATE party_party_sale_price_list o SET sale_price_list = l.id FROM party_party p, product_price_list l
WHERE p.code = $1 AND l.name = $2 AND o.party = p.id AND o.company = l.company RETURNING o.id
"""
WAREHOUSES: Final = "SELECT id FROM stock_location WHERE type = 'warehouse' ORDER BY id"
SALES: Final = """
SELECT s.reference, s.number, s.state, s.create_date, s.description, p.code AS customer,
  array_agg(ARRAY[a.code, l.quantity::int::text] ORDER BY l.id) AS lines
FROM sale_sale s JOIN party_party p ON p.id = s.party JOIN sale_line l ON l.sale = s.id
  JOIN product_product a ON a.id = l.product
WHERE s.reference IS NOT NULL AND s.state <> 'cancelled' GROUP BY s.id, p.code ORDER BY s.id
"""
EFFECTS: Final = """
SELECT reference, count(*) FROM sale_sale WHERE state IN ('processing', 'done') AND reference IS NOT NULL GROUP BY 1
"""


def configuration(directory: Path, postgres: Postgres, port: int, workers: int = 0) -> Path:
    """Tryton's own configuration, listening on `port`; with `workers` processes of its own for what it queues."""
    file = directory / "trytond.conf"
    uri = postgres.database_url("").rstrip("/")
    queue = f"[queue]\nworker = {bool(workers)}\n"
    file.write_text(f"[database]\nuri = {uri}\npath = {directory}/files\n[web]\nlisten = 127.0.0.1:{port}\n{queue}")
    return file


def connector_file(directory: Path, *, unique: bool = True) -> Path:
    """The connector's own settings, with the password beside them; whether they say that a reference is unique."""
    (directory / "password").write_text(PASSWORD)
    told = {"database": DATABASE, "user": USER, "password_file": "password", "company": COMPANY, "currency": CURRENCY}
    file = directory / "tryton.toml"
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in {**told, "unique_reference": unique}.items()]
    file.write_text("".join(lines))
    return file


@dataclass(frozen=True, slots=True)
class Sale:
    """One of Tryton's, by its own tables: `made` is when, alike for all of one call, `of` is the pharmacy's own
    reference; a line has the code of its article, which in the tests is the product's.
    """

    number: str | None
    state: str
    made: datetime
    of: str
    customer: str
    lines: list[dict[str, Any]]


class Tryton:
    """One Tryton, which a test may take away."""

    def __init__(self, directory: Path, leash: Leash, workers: int = 0) -> None:
        """With `workers`, so many processes of Tryton's do what it queues; else each request does so at its end."""
        self.directory, self._leash, self.port, self._workers = directory, leash, choose(), workers
        directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "--archive", f"{SEED}/.", str(directory)], check=True)
        self.postgres = Postgres(directory, choose(), settings={"shared_buffers": "64MB", "max_connections": "100"})
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: Process | None = None
        self._queue: Process | None = None
        self._database = False
        self.env: dict[str, str] = {}  # of its processes, from their next start on

    def start(self) -> None:
        """Start what is not running, and wait until it answers."""
        if not self._database:
            self.start_database()
        self.start_server()

    def start_database(self) -> None:
        """Its PostgreSQL."""
        self.postgres.start(self._leash)
        self._database = True

    def start_server(self) -> None:
        """Tryton itself, and its workers."""
        config = configuration(self.directory, self.postgres, self.port, self._workers)
        self._process = self._run("trytond", "-c", str(config), "-d", DATABASE)
        if self._workers:
            self.start_queue()
        until(self._answers, 60, what="Tryton answers")

    def start_queue(self) -> None:
        """What does what is queued."""
        config = str(self.directory / "trytond.conf")
        self._queue = self._run("trytond-worker", "-c", config, "-d", DATABASE, "-n", str(self._workers))

    def stop_queue(self) -> None:
        """Nothing does."""
        assert self._queue is not None
        self._queue.end()
        self._leash.drop(self._queue.mark)

    def _run(self, name: str, *words: str) -> Process:
        argv = (str(BIN / name), *words)
        process = Process(Program(name, argv, self.directory / f"{name}.log", self.env, grace=5.0))
        self._leash.hold(process.mark)
        return process

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
        for process in filter(None, (self._process, self._queue)):
            process.kill()
            process.end()
            self._leash.drop(process.mark)

    def kill_database(self) -> None:
        """SIGKILL its PostgreSQL."""
        self.postgres.kill()
        self._database = False

    def dump(self, file: Path) -> None:
        """Put aside all that its database holds."""
        self._tool("pg_dump", "--format=custom", f"--file={file}", self.postgres.database_url(DATABASE))

    def restore(self, file: Path) -> None:
        """Give its database what a dump holds, and nothing else; Tryton does not run meanwhile."""
        maintenance = self.postgres.database_url("postgres")
        self._tool("dropdb", "--force", f"--maintenance-db={maintenance}", DATABASE)
        self._tool("createdb", f"--maintenance-db={maintenance}", DATABASE)
        self._tool("pg_restore", f"--dbname={self.postgres.database_url(DATABASE)}", str(file))

    def _tool(self, name: str, *words: str) -> None:
        subprocess.run([str(binary(name)), *words], check=True, env={"PATH": os.defpath})

    def stop(self) -> None:
        """End all of it."""
        for process in filter(None, (self._process, self._queue)):
            process.end()
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

    def sales(self) -> dict[UUID, list[Sale]]:
        """The sales of each order that are not cancelled, in the turn in which they were made."""
        found = defaultdict(list)
        for row in self.sql(SALES):
            order, number, state, made, of, customer, told = row
            lines = [{"product": product, "quantity": int(quantity)} for product, quantity in told]
            found[UUID(order)].append(Sale(number, state, made, of, customer, lines))
        return dict(found)

    def effects(self) -> Counter[UUID]:
        """How many sales that are taken each order has."""
        return Counter({UUID(reference): count for reference, count in self.sql(EFFECTS)})


def present() -> None:
    """Fail the test where `make erp-tools` was not run."""
    if not READY.exists():
        pytest.fail("there is no Tryton: run `make erp-tools`")
