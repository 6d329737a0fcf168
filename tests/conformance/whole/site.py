"""A whole Relais before an ERP, and what a test kills of it: a worker, one of its processes, the network in between.

Orders come with each fault, so many of them, and most faults come once an order was delivered after the one before: a
busy machine gets no more to do than another. In the end each order is with the ERP, by the ERP's own account and by
Relais's.
"""

from __future__ import annotations

import json
import random
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import psutil
import pytest

from config.embedded.leash import Leash
from config.embedded.process import Process
from tests.acceptance.apart import Apart
from tests.cli import CommandLine
from tests.conformance.counterparts import Counterpart
from tests.journal import Journal
from tests.machines.wire import Wire, wire_to
from tests.waiting import until

PER_FAULT: Final = 4  # orders that come with each fault
MOMENT: Final = 1.0  # seconds, at most, between orders and their fault: every step of theirs is met
PATIENT: Final = 0.7  # share of the faults before which orders are delivered again
RECOVERY: Final = 900.0  # seconds that a busy machine may take for what the faults have left

Fault = Callable[[], None]
Of = TypeVar("Of", bound="Site")


class Site:
    """Intake and worker, mapped, before an ERP and a wire that can be cut; its chance is the same each time."""

    def __init__(self, parts: Apart, erp: Counterpart, relais: CommandLine, wire: Wire, directory: Path) -> None:
        self.parts, self.erp, self.relais, self.wire, self._directory = parts, erp, relais, wire, directory
        self.dice = random.Random(14)
        self.told: dict[UUID, list[dict[str, Any]]] = {}  # the lines of each order that was answered 202

    def open(self) -> None:
        """Orders may come."""
        self.parts.api()
        self.worker: Process = self.parts.worker()

    def map(self, name: str, header: str, rows: Mapping[str, str]) -> None:
        """Import a file."""
        file = self._directory / f"{name}.csv"
        file.write_text("\n".join([header, *map(",".join, rows.items())]))
        done = self.relais("mapping", "import", str(file), "--because", "a test", "--yes")
        assert done.code == 0, done.err

    def order(self, *products: str, pharmacy: str = "P000", quantity: int = 0) -> UUID:
        """An order of a line for each product, of that quantity or any."""
        lines = [{"product": product, "quantity": quantity or self.dice.randint(1, 9)} for product in products]
        body = {"pharmacy": pharmacy, "reference": f"R{len(self.told)}", "lines": lines}
        request = urllib.request.Request(f"{self.parts.url}/orders", json.dumps(body).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bearer {self.parts.key}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            told = UUID(json.load(answer)["id"])
        self.told[told] = lines
        return told

    def state(self, order_id: UUID) -> tuple[str, str | None]:
        """An order's, with its reason."""
        told = json.loads(self.relais("order", "show", str(order_id), "--json").out)
        return told["state"], told["reason"]

    def evidence(self) -> list[dict[str, Any]]:
        """All that speaks against the ERP."""
        found: list[dict[str, Any]] = json.loads(self.relais("evidence", "--json").out)
        return found

    def kill_worker(self) -> None:
        """SIGKILL of the worker and all of its children; another one takes its place."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.worker.pid).children(recursive=True):
                child.send_signal(signal.SIGKILL)
        self.worker.kill()
        self.worker = self.parts.worker()

    def kill_child(self) -> None:
        """SIGKILL of one process of the worker's, which replaces it."""
        with suppress(psutil.NoSuchProcess, IndexError):
            self.dice.choice(psutil.Process(self.worker.pid).children()).send_signal(signal.SIGKILL)

    def cut(self) -> None:
        """The network in between, for a moment."""
        self.wire.cut()
        time.sleep(self.dice.uniform(0.05, 0.3))
        self.wire.mend()

    def endure(self, kills: int, kinds: Mapping[Fault, int]) -> Counter[str]:
        """Faults of kinds that are weighted while orders come, until so many of them were kills; how many of each."""
        met: Counter[str] = Counter()
        while sum(count for kind, count in met.items() if kind.startswith("kill")) < kills:
            if self.dice.random() < PATIENT:
                self._delivers()
            for _ in range(PER_FAULT):
                self.order()
            time.sleep(self.dice.uniform(0.0, MOMENT))
            (fault,) = self.dice.choices([*kinds], [*kinds.values()])
            fault()
            met[fault.__name__] += 1
        return met

    def _delivers(self) -> None:
        """One more order is delivered, where there is one."""
        before = self._delivered()
        more = lambda: (now := self._delivered()) > before or now == len(self.told)  # noqa: E731
        until(more, RECOVERY, 0.2, "orders are delivered again")

    def _delivered(self) -> int:
        count = Journal(self.parts.journal).sql("SELECT count(*) FROM deliveries WHERE state = 'delivered'")
        return int(count[0][0])

    def all_is_taken(self, told: Collection[UUID]) -> None:
        """Every order that was answered 202 is with the ERP, and Relais knows it."""
        until(lambda: {*self.erp.effects()} >= {*told}, RECOVERY, 1, "every order is with the ERP")
        until(lambda: json.loads(self.relais("backlog", "--json").out)["orders"] == 0, RECOVERY, 1, "none is left")
        ledger = json.loads(self.relais("audit", "--json").out)
        assert (ledger["balanced"], ledger["delivered"]) == (True, len(told)), ledger


@contextmanager
def before(
    erp: Counterpart, leash: Leash, capsys: pytest.CaptureFixture[str], directory: Path, kind: type[Of], **env: str
) -> Iterator[Of]:
    """A site before that ERP, which runs; its journal, queue and logs are in a directory of `directory`."""
    parts = Apart(directory / "relais", leash)
    with wire_to(erp.port) as wire:
        try:
            settings = erp.settings(wire.port)
            parts.env |= {
                "RELAIS_ERP_KIND": settings.erp.kind,
                "RELAIS_ERP_URL": str(settings.erp.url),
                "RELAIS_ERP_CONNECTOR": str(settings.erp.connector),
                **env,
            }
            yield kind(parts, erp, CommandLine(capsys, parts.env), wire, directory)
        finally:
            parts.close()
