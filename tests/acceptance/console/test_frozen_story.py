"""PostgreSQL frozen under a whole Relais, as somebody at the console sees it: orders are taken in all the while, and
every sentence and figure says what is so, what was so when the journal last answered, and no more.
"""

import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tests.acceptance.console.acting import CALM, agreed, figures, headline, reported
from tests.acceptance.console.browsing import Browsers, Look, Visitor, in_chromium, outside
from tests.acceptance.running import Relais
from tests.machines.servers import frozen
from tests.waiting import until
from workers.console.access.people import Role

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(900), *in_chromium]

AWAY = (
    "^(PostgreSQL has not answered since .*: orders are taken in and wait in Redis, nothing is forwarded"
    r"|PostgreSQL ne répond plus depuis .*\s: les commandes sont reçues et attendent dans Redis, rien n'est transmis)$"
)
LOOKS = [Look("en", "light", "desktop"), Look("fr", "dark", "phone")]


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_a_frozen_postgresql_is_told_as_it_is(relais: Relais, browsers: Browsers, look: Look) -> None:
    ids = outside(lambda: relais.submit(60))
    outside(lambda: until(lambda: relais.states()["delivered"] == 60, 60, 0.2, "all are delivered"))
    with browsers.someone("jeanne", Role.OPERATOR, look) as jeanne:
        jeanne.go("/").evaluate("window.unbroken = true")
        headline(jeanne, CALM)
        before = agreed(jeanne, relais)
        with frozen(relais.pid("postgres")):
            ids += it_is_away(relais, jeanne)
            assert figures(jeanne) == before, "the last that was known, which says so"
        headline(jeanne, CALM)
        assert jeanne.page.evaluate("window.unbroken"), "it was not loaded again"
        outside(lambda: until(lambda: relais.states()["delivered"] == 100, 60, 0.2, "those of the spill too"))
        assert agreed(jeanne, relais) == (0, 0, 100)
        jeanne.sound("frozen-3-back")
        accepted, delivered, *_ = reported(jeanne, "After PostgreSQL stood still", "frozen-4")
        assert (accepted, delivered) == (100, 100)
    outside(lambda: relais.delivered_once(ids))


def it_is_away(relais: Relais, jeanne: Visitor) -> list[UUID]:
    """Orders are answered 202; page and status name what does not answer since when, and what happens to orders."""
    began = datetime.now(UTC)
    ids = outside(lambda: relais.submit(40))
    said = headline(jeanne, AWAY)
    assert not re.search("no order|aucune commande n", jeanne.page.locator("main").inner_text())
    since = re.search(r"(\d\d):(\d\d):(\d\d)", said)
    assert since is not None
    ago = (int(since[2]) * 60 + int(since[3])) - (began.minute * 60 + began.second)
    assert -15 <= (ago + 1800) % 3600 - 1800 <= 30, (said, began)
    jeanne.says("Figures are those of|Les chiffres sont ceux")
    assert "The backlog is empty" not in jeanne.page.locator("#cutoffs").inner_text()
    jeanne.sound("frozen-1-away")
    told = outside(lambda: status(relais))
    assert "PostgreSQL has not answered" in told and "All is well" not in told, told
    assert "40 orders wait for the journal" in told and "orders go to the spill" in told, told
    return ids


def status(relais: Relais) -> str:
    """What `relais status` prints, soon, though the journal does not answer."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RELAIS_")}
    began = time.monotonic()
    words = [sys.executable, "-m", "workers.cli", "--data-dir", str(relais.data_dir), "status"]
    done = subprocess.run(words, env=kept, capture_output=True, text=True, timeout=60, check=False)
    assert time.monotonic() - began < 30
    return re.sub(r"\s+", " ", done.stdout + done.stderr)
