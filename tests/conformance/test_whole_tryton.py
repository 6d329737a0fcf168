"""A whole Relais before a real Tryton: orders go in by the intake and end as sales, each once, whoever is killed."""

import json
import signal
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from config.embedded.leash import Leash
from config.embedded.process import Process
from tests.acceptance.apart import Apart, load
from tests.cli import CommandLine
from tests.conformance.counterparts import RealTryton
from tests.machines import tryton
from tests.machines.erp import MEDICINES
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

UNMAPPED = "3400938615470"


class Site:
    """Intake and worker, mapped, before a Tryton."""

    def __init__(self, parts: Apart, erp: RealTryton, relais: CommandLine, directory: Path) -> None:
        self.parts, self.erp, self.relais, self._directory = parts, erp, relais, directory
        self.workers: list[Process] = []

    def map(self, name: str, header: str, rows: dict[str, str]) -> str:
        """Import a file; what was said."""
        file = self._directory / f"{name}.csv"
        file.write_text("\n".join([header, *map(",".join, rows.items())]))
        done = self.relais("mapping", "import", str(file), "--because", "a test", "--yes")
        assert done.code == 0, done.err
        return done.out

    def order(self, reference: str, *products: str, pharmacy: str = "P001") -> UUID:
        lines = [{"product": product, "quantity": 2} for product in products]
        body = json.dumps({"pharmacy": pharmacy, "reference": reference, "lines": lines}).encode()
        request = urllib.request.Request(f"{self.parts.url}/orders", body, method="POST")
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bearer {self.parts.key}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return UUID(json.load(answer)["id"])

    def state(self, order_id: UUID) -> tuple[str, str | None]:
        told = json.loads(self.relais("order", "show", str(order_id), "--json").out)
        return told["state"], told["reason"]


@pytest.fixture
def site(leash: Leash, capsys: pytest.CaptureFixture[str]) -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="relais-test-") as folder:
        directory = Path(folder)
        directory.chmod(0o711)
        erp = RealTryton(directory, leash)
        parts = Apart(directory / "relais", leash)
        try:
            erp.start()
            settings = erp.settings()
            parts.env |= {
                "RELAIS_ERP_KIND": "tryton",
                "RELAIS_ERP_URL": str(settings.erp.url),
                "RELAIS_ERP_CONNECTOR": str(settings.erp.connector),
                "RELAIS_ERP_TIMEOUT": "5",
                "RELAIS_ERP_ALLOW_SUBSTITUTION": "true",
            }
            site = Site(parts, erp, CommandLine(capsys, parts.env), directory)
            site.map("products", "product,article", {MEDICINES[0]: MEDICINES[0]})
            site.map("pharmacies", "pharmacy,customer", {f"P{n:03}": tryton.PHARMACIES[n % 10] for n in range(20)})
            parts.api()
            site.workers.append(parts.worker())
            yield site
        finally:
            parts.close()
            erp.close()


def test_an_order_becomes_a_sale_and_one_that_is_not_mapped_waits_for_its_import(site: Site) -> None:
    good, bad = site.order("R1", MEDICINES[0]), site.order("R2", MEDICINES[0], UNMAPPED)
    until(lambda: site.state(good) == ("delivered", None), 60, 0.3, "it is delivered")
    until(lambda: site.state(bad) == ("dead", "unmapped"), 30, 0.3, "the other one is not mapped")
    assert UNMAPPED in site.relais("order", "show", str(bad)).out
    assert site.relais("mapping", "coverage").code == 1
    site.map("more", "product,article", {UNMAPPED: UNMAPPED})
    until(lambda: site.state(bad) == ("delivered", None), 60, 0.3, "it goes by itself")
    assert site.erp.effects() == {good: 1, bad: 1}


def test_what_tryton_sells_in_a_product_s_place_is_told_by_our_code_and_is_no_difference_later(site: Site) -> None:
    site.erp.substitute()  # from now on a rule of theirs replaces the first of these products by the second
    was, instead, elsewhere, _ = (each["code"] for each in site.erp.spare())
    site.map("more", "product,article", {MEDICINES[1]: was, MEDICINES[2]: instead})
    order = site.order("R1", MEDICINES[0], MEDICINES[1])
    until(lambda: site.state(order) == ("delivered", None), 60, 0.3, "it is delivered")
    lines = json.loads(site.relais("order", "show", str(order), "--json").out)["receipt"]["lines"]
    assert [(each["product"], each["substitute"], each["accepted"]) for each in lines] == [
        (MEDICINES[0], None, 2),
        (MEDICINES[1], MEDICINES[2], 2),
    ]
    site.map("others", "product,article", {MEDICINES[2]: elsewhere})
    found = json.loads(site.relais("reconcile", "--since", "1h", "--because", "a test", "--yes", "--json").out)
    assert (found["present"], found["altered"], found["missing"], found["foreign"]) == (1, 0, 0, 0)


def test_worker_and_tryton_are_killed_and_every_order_is_one_sale(site: Site) -> None:
    with load(site.parts, hands=6, pause=0.3) as front:
        for _ in range(3):
            more = len(front.told) + 20
            until(lambda more=more: len(front.told) > more, 30, what="more orders come")
            for child in psutil.Process(site.workers[-1].pid).children():
                child.send_signal(signal.SIGKILL)
            site.workers[-1].kill()
            site.workers.append(site.parts.worker())
            site.erp.kill()
            site.erp.start()
    told = set(front.told.values())
    until(lambda: set(site.erp.effects()) >= told, 300, 1, "every order is a sale")
    until(lambda: json.loads(site.relais("backlog", "--json").out)["orders"] == 0, 120, 1, "none is left")
    assert site.erp.effects() == dict.fromkeys(told, 1)
