"""A whole Relais before an EDI partner behind a real OpenSSH: each order is one file, whoever is killed."""

import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from config.embedded.leash import Leash
from config.embedded.process import Process
from tests.acceptance.apart import MEDICINE, Apart, load
from tests.cli import CommandLine
from tests.conformance.files import OverSftp
from tests.machines.edi import ARTICLES
from tests.machines.wire import Wire, wire_to
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

FAULTS = int(os.environ.get("RELAIS_TEST_FAULTS", "200"))
HANDS = 4


class Site:
    """Intake and worker, mapped, before mock-edi behind OpenSSH and a wire that can be cut."""

    def __init__(self, parts: Apart, erp: OverSftp, wire: Wire, relais: CommandLine) -> None:
        self.parts, self.erp, self.wire, self.relais = parts, erp, wire, relais
        self.worker: Process = parts.worker()

    def kill_worker(self) -> None:
        """SIGKILL of the worker and all of its children."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.worker.pid).children(recursive=True):
                child.send_signal(signal.SIGKILL)
        self.worker.kill()
        self.worker = self.parts.worker()

    def kill_child(self) -> None:
        """SIGKILL of one process of the worker's, which replaces it."""
        with suppress(psutil.NoSuchProcess, IndexError):
            random.choice(psutil.Process(self.worker.pid).children()).send_signal(signal.SIGKILL)

    def kill_sshd(self) -> None:
        self.erp.sshd.kill()
        self.erp.sshd.start()

    def kill_session(self) -> None:
        self.erp.sshd.hang_up()

    def kill_partner(self) -> None:
        self.erp.edi.kill()
        self.erp.edi.start()

    def cut(self) -> None:
        self.wire.cut()
        time.sleep(random.uniform(0.05, 0.3))
        self.wire.mend()


@pytest.fixture
def site(leash: Leash, capsys: pytest.CaptureFixture[str]) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="relais-test-") as folder:
        directory = Path(folder)
        directory.chmod(0o711)
        erp = OverSftp(directory, leash)
        parts = Apart(directory / "relais", leash)
        try:
            erp.start()
            with wire_to(erp.port) as wire:
                settings = erp.settings(wire.port)
                parts.env |= {
                    "RELAIS_ERP_KIND": "files",
                    "RELAIS_ERP_URL": str(settings.erp.url),
                    "RELAIS_ERP_CONNECTOR": str(settings.erp.connector),
                    "RELAIS_ERP_TIMEOUT": "5",
                }
                relais = CommandLine(capsys, parts.env)
                imported(relais, directory / "products.csv", "product,article", {MEDICINE: ARTICLES[0]})
                customers = {f"P{number:03}": f"C-{number:03}" for number in range(HANDS)}
                imported(relais, directory / "pharmacies.csv", "pharmacy,customer", customers)
                parts.api()
                yield Site(parts, erp, wire, relais)
        finally:
            parts.close()
            erp.close()


def imported(relais: CommandLine, file: Path, header: str, rows: dict[str, str]) -> None:
    file.write_text("\n".join([header, *map(",".join, rows.items())]))
    done = relais("mapping", "import", str(file), "--because", "a test", "--yes")
    assert done.code == 0, done.err


def endure(site: Site, faults: int) -> None:
    """Faults of every kind while orders come, and in the end each of these is one file, one order, one receipt."""
    dice = random.Random(14)
    kinds = [site.kill_child, site.kill_sshd, site.kill_session, site.kill_session, site.cut, site.kill_partner]
    met: Counter[str] = Counter()
    with load(site.parts, hands=HANDS, pause=0.5) as front:
        until(lambda: front.told, 60, what="the first orders come")
        for number in range(faults):
            fault = site.kill_worker if number % 50 == 25 else dice.choice(kinds)
            fault()
            met[fault.__name__] += 1
            time.sleep(dice.uniform(0.05, 0.6))
    told = set(front.told.values())
    print(f"{len(told)} orders, {sum(met.values())} faults: {dict(met)}")
    until(lambda: set(site.erp.effects()) >= told, 600, 2, "every order is a file")
    until(lambda: json.loads(site.relais("backlog", "--json").out)["orders"] == 0, 600, 2, "none is left")
    assert site.erp.effects() == dict.fromkeys(told, 1)
    assert {order for order, boxes in site.erp.edi.orders().items() if boxes} == told
    ledger = json.loads(site.relais("audit", "--json").out)
    assert ledger["delivered"] == len(told), ledger


def test_a_few_are_killed_and_every_order_is_one_file(site: Site) -> None:
    endure(site, 12)


@pytest.mark.slow
def test_two_hundred_are_killed_and_every_order_is_one_file(site: Site) -> None:
    endure(site, FAULTS)
