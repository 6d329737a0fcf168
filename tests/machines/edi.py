"""An EDI partner that others wrote (mock-edi from PyPI): it reads orders from a directory, and answers into another.

`python -m mockedi` with a file of its own. What it took is in `orders/processed`, what it could not read in
`orders/failed`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import sys
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.process import Process, Program
from tests.waiting import until

PARTNER, ITSELF = "EURODIS", "MOCKEDI"  # an EDIFACT customer of its own demo data, and its own name
ARTICLES: Final = ("CABLE-2M", "BRKT-050", "CABLE-5M")  # of its own catalogue, much of them in stock
SCARCE, MORE_THAN_STOCK = "PANEL-A3", 50  # one that it has 35 of, and a number that is more
CLAIMED: Final = ".processing"  # how it names a file while it reads it
CONFIRMED: Final = """
SELECT o.po_number, coalesce(sum(CAST(l.confirmed AS REAL)), 0) FROM purchase_order o
LEFT JOIN order_line l ON l.partner = o.partner AND l.po_number = o.po_number WHERE o.partner = ? GROUP BY 1
"""
SENT: Final = "SELECT id, partner || '-' || code || '-' || control || '.edi' FROM outbound WHERE status = 'ready'"
NUMBER: Final = re.compile(rb"BGM\+220\+([0-9A-F]{32})\+")


class EdiPartner:
    """One partner, which a test may take away."""

    def __init__(self, directory: Path, leash: Leash) -> None:
        self.directory, self._leash, self.port = directory, leash, choose()
        for name in ("orders", "answers", "relais"):
            (directory / name).mkdir(parents=True)
        self._database = directory.parent / "mock-edi.db"
        self._process: Process | None = None

    def start(self) -> None:
        """Start it, or start it again, as its operator would: what it was reading when it was killed is put back, and
        answers that it had noted as sent and had not written yet are sent again.
        """
        for claimed in (self.directory / "orders").glob(f"*{CLAIMED}"):
            claimed.rename(claimed.with_name(claimed.name.removesuffix(CLAIMED)))
        words = ("--port", self.port, "--db", self._database, "--drop-interval-ms", 100, "--drop-settle-ms", 0)
        places = ("--drop-dir", self.directory / "orders", "--pickup-dir", self.directory / "answers")
        argv = (sys.executable, "-m", "mockedi", *map(str, (*words, *places)), "-q")
        self._process = Process(Program("mock-edi", argv, self.directory.parent / "mock-edi.log", grace=5.0))
        self._leash.hold(self._process.mark)
        until(self._answers, 30, what="mock-edi answers")
        for unwritten in self._unwritten():
            self.ask(f"/_mock/outbox/{unwritten}/retry")

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self.close()

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def close(self) -> None:
        if self._process is not None:
            self._process.end()
            self._leash.drop(self._process.mark)
            self._process = None

    def behave(self, behaviour: str) -> None:
        """As its own table of behaviours has it: `accept`, `short-ship`, `no-ack`, `corrupt`, `late`, …"""
        self.ask(f"/_mock/partners/{PARTNER}", "PATCH", behaviour=behaviour)

    def read_now(self) -> None:
        """Read what is in its directory, and answer."""
        self.ask("/_mock/drop/scan")

    def effects(self) -> Counter[UUID]:
        """How often it took the file of each order, and what still waits for it: counted in its directory, without
        those that it refused.
        """
        found: Counter[UUID] = Counter()
        for file in (self.directory / "orders").rglob("*"):
            if file.is_file() and (number := NUMBER.search(file.read_bytes())):
                found[UUID(number[1].decode())] += 1
        for order, boxes in self.orders().items():
            if boxes == 0:
                del found[order]
        return found

    def orders(self) -> dict[UUID, int]:
        """The orders in its own database, with the boxes of each that it confirmed."""
        connection = sqlite3.connect(self._database)
        try:
            rows = connection.execute(CONFIRMED, [PARTNER]).fetchall()
        finally:
            connection.close()
        return {UUID(number): int(boxes) for number, boxes in rows if re.fullmatch("[0-9A-F]{32}", number)}

    def forget(self) -> None:
        """It is restored, with all of its directories, from a backup of before it took any order."""
        self.ask("/_mock/reset")
        for name in ("orders", "answers", "relais"):
            for each in (self.directory / name).iterdir():
                if each.is_dir() and each.name not in ("processed", "failed"):
                    shutil.rmtree(each)
                for file in [each] if each.is_file() else each.glob("*"):
                    file.unlink()

    def ask(self, path: str, method: str = "POST", **body: object) -> Any:
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def _unwritten(self) -> list[int]:
        """The answers that it holds for sent, and no directory has; it now believes that they failed."""
        files = [each.name for name in ("answers", "relais") for each in (self.directory / name).rglob("*.edi")]
        connection = sqlite3.connect(self._database)
        try:
            sent = connection.execute(SENT).fetchall()
            lost = [number for number, name in sent if not any(each.endswith(name) for each in files)]
            connection.executemany("UPDATE outbound SET status = 'failed' WHERE id = ?", [(each,) for each in lost])
            connection.commit()
        finally:
            connection.close()
        return lost

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/_mock/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
