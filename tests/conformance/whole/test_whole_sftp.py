"""A whole Relais before an EDI partner behind a real OpenSSH: each order is one file, whoever is killed."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from tests.acceptance.apart import MEDICINE, load
from tests.conformance.files import OverSftp
from tests.conformance.whole.site import Site, before
from tests.machines.edi import ARTICLES
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

FAULTS = int(os.environ.get("RELAIS_TEST_FAULTS", "200"))
HANDS = 4


class SftpSite(Site):
    """Before mock-edi behind OpenSSH."""

    erp: OverSftp

    def kill_sshd(self) -> None:
        self.erp.sshd.kill()
        self.erp.sshd.start()

    def kill_session(self) -> None:
        self.erp.sshd.hang_up()

    def kill_partner(self) -> None:
        self.erp.edi.kill()
        self.erp.edi.start()


@pytest.fixture
def site(leash: Leash, capsys: pytest.CaptureFixture[str]) -> Iterator[SftpSite]:
    with tempfile.TemporaryDirectory(prefix="relais-test-") as folder:
        directory = Path(folder)
        directory.chmod(0o711)
        erp = OverSftp(directory, leash)
        try:
            erp.start()
            with before(erp, leash, capsys, directory, SftpSite, RELAIS_ERP_TIMEOUT="5") as site:
                site.map("products", "product,article", {MEDICINE: ARTICLES[0]})
                site.map("pharmacies", "pharmacy,customer", {f"P{n:03}": f"C-{n:03}" for n in range(HANDS)})
                site.open()
                yield site
        finally:
            erp.close()


def endure(site: SftpSite, faults: int) -> None:
    """Faults of every kind while orders come, and in the end each of these is one file, one order, one receipt."""
    kinds = [site.kill_child, site.kill_sshd, site.kill_session, site.kill_session, site.cut, site.kill_partner]
    met: Counter[str] = Counter()
    with load(site.parts, hands=HANDS, pause=0.5) as front:
        until(lambda: front.told, 60, what="the first orders come")
        for number in range(faults):
            fault = site.kill_worker if number % 50 == 25 else site.dice.choice(kinds)
            fault()
            met[fault.__name__] += 1
            time.sleep(site.dice.uniform(0.05, 0.6))
    told = {*front.told.values()}
    site.all_is_taken(told)
    print(f"{len(told)} orders, {sum(met.values())} faults: {dict(met)}")
    assert site.erp.effects() == dict.fromkeys(told, 1)
    assert {order for order, boxes in site.erp.edi.orders().items() if boxes} == told


def test_a_few_are_killed_and_every_order_is_one_file(site: SftpSite) -> None:
    endure(site, 12)


@pytest.mark.slow
def test_two_hundred_are_killed_and_every_order_is_one_file(site: SftpSite) -> None:
    endure(site, FAULTS)
