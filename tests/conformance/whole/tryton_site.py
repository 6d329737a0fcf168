"""A whole Relais before a real Tryton: what is killed of that, and what its own tables say of the orders."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from config.embedded.leash import Leash
from tests.conformance.real_tryton import RealTryton
from tests.conformance.whole.site import Site, before
from tests.journal import Journal
from tests.machines import tryton
from tests.machines.erp import MEDICINES

# A busy machine's Tryton needs longer for a call; what is killed is noticed at once all the same. An order may meet
# more faults here than the eight outages after which it is taken for a bad one.
UNHURRIED: Final = {
    "RELAIS_ERP_TIMEOUT": "20",
    "RELAIS_BATCH_BUDGET": "30",
    "RELAIS_LEASE": "45",
    "RELAIS_MAX_ATTEMPTS": "1000",
}
FAULTS: Final = int(os.environ.get("RELAIS_TEST_FAULTS", "200"))
RECEIPTS: Final = "SELECT DISTINCT ON (order_id) order_id, reference FROM receipts ORDER BY order_id, received_at DESC"


class TrytonSite(Site):
    """Before a Tryton on a PostgreSQL of its own."""

    erp: RealTryton

    def order(self, *products: str, pharmacy: str = "", quantity: int = 0) -> UUID:
        """Of any pharmacy, and of one to three lines where no product is named."""
        some = products or self.dice.sample(MEDICINES, self.dice.randint(1, 3))
        return super().order(*some, pharmacy=pharmacy or f"P{self.dice.randrange(20):03}", quantity=quantity)

    def kill_tryton(self) -> None:
        """SIGKILL, and it starts again."""
        self.erp.kill()
        self.erp.start()

    def kill_database(self) -> None:
        """SIGKILL of Tryton's PostgreSQL, which starts again."""
        self.erp.kill_database()

    def freeze(self) -> None:
        """Tryton stands still, and later goes on with what nobody waits for any more."""
        self.erp.freeze()
        time.sleep(self.dice.uniform(6.0, 9.0))
        self.erp.thaw()

    def attempts(self) -> dict[str, int]:
        """How many came to what."""
        return dict(map(tuple, Journal(self.parts.journal).sql("SELECT outcome, count(*) FROM attempts GROUP BY 1")))

    def receipts(self) -> dict[UUID, str]:
        """The sale that Relais holds a receipt of, for each order."""
        return dict(map(tuple, Journal(self.parts.journal).sql(RECEIPTS)))


@contextmanager
def before_tryton(
    leash: Leash, capsys: pytest.CaptureFixture[str], *, unique: bool = True, **env: str
) -> Iterator[TrytonSite]:
    """A site before a new Tryton: the first medicine is mapped."""
    with tempfile.TemporaryDirectory(prefix="relais-test-") as folder:
        directory = Path(folder)
        directory.chmod(0o711)
        erp = RealTryton(directory, leash, unique=unique)
        try:
            erp.start()
            with before(erp, leash, capsys, directory, TrytonSite, **(UNHURRIED | env)) as site:
                site.map("pharmacies", "pharmacy,customer", {f"P{n:03}": tryton.PHARMACIES[n % 10] for n in range(20)})
                yield site
        finally:
            erp.close()
