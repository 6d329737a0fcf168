"""An ERP whose receipts lie, seen at the console from the first lie to the release by two: nothing more is sent, orders
are still taken, and headline, figures and report say what the journal says.
"""

import pytest

from tests.acceptance.console.acting import (
    agreed,
    confirmed,
    final,
    headline,
    leading,
    operations,
    reported,
    row,
)
from tests.acceptance.console.browsing import Browsers, Look, Visitor, in_chromium, outside
from tests.acceptance.running import Relais
from tests.waiting import until
from workers.console.access.people import Role

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(900), *in_chromium]

HELD = "^erp (is in quarantine since|est en quarantaine depuis)"
PAIRS = {  # how the operator looks at it, and the approver
    "fr": (Look("fr", "light", "desktop"), Look("en", "dark", "desktop")),
    "en": (Look("en", "dark", "phone"), Look("fr", "light", "desktop")),
}


@pytest.mark.parametrize("tongue", PAIRS)
def test_an_erp_that_lies_gets_nothing_until_two_release_it(relais: Relais, browsers: Browsers, tongue: str) -> None:
    outside(lambda: relais.submit(60))
    outside(lambda: until(lambda: final(relais) == 60, 60, 0.2, "all are delivered"))
    hers, his = PAIRS[tongue]
    with (
        browsers.someone("jeanne", Role.OPERATOR, hers) as jeanne,
        browsers.someone("karim", Role.APPROVER, his) as karim,
    ):
        it_lies(relais, jeanne)
        orders_wait(relais, jeanne)
        two_release_it(relais, jeanne, karim)
        accepted, delivered, *_ = reported(jeanne, "Pour l'assureur", "compromised-6")
        assert accepted == 100
        assert delivered == agreed(at_first_page(jeanne), relais).delivered
    assert operations(relais) == {"release proposed": 1, "release": 1, "audit": 1, "report": 1}


def it_lies(relais: Relais, jeanne: Visitor) -> None:
    """Seen without a reload: who holds it since when, as the journal has it."""
    jeanne.go("/").evaluate("window.unbroken = true")
    relais.dial(tamper="digest")
    outside(lambda: relais.submit(20))
    said = headline(jeanne, HELD)
    assert jeanne.page.evaluate("window.unbroken"), "it was not loaded again"
    held = row(relais, "SELECT quarantined, quarantined_by AS by FROM backends WHERE name = 'erp'")
    assert held["quarantined"] and held["by"] in said, (said, held)
    agreed(jeanne, relais)
    jeanne.sound("compromised-1-held")


def orders_wait(relais: Relais, jeanne: Visitor) -> None:
    """What comes is taken and kept; the ERP gets none of it. The page of the backend has each piece of evidence."""
    sent = sum(relais.effects().values())
    outside(lambda: relais.submit(20))
    jeanne.go("/")
    headline(jeanne, HELD)
    assert agreed(jeanne, relais).backlog >= 20
    assert sum(relais.effects().values()) == sent
    evidence = row(relais, "SELECT count(*) AS pieces, min(kind) AS kind FROM evidence WHERE backend = 'erp'")
    jeanne.go("/backend/erp")
    shown = jeanne.page.locator("section[aria-labelledby='evidence'] tbody tr").count()
    assert shown >= 1 and str(evidence["pieces"]) in jeanne.page.locator("main").inner_text(), evidence
    jeanne.sound("compromised-2-evidence")


def two_release_it(relais: Relais, jeanne: Visitor, karim: Visitor) -> None:
    """Its receipts are true again; one proposes, the other approves, and what waited goes."""
    relais.dial()
    leading(jeanne, "release-propose").click()
    confirmed(jeanne, "Relevé de l'éditeur : certificat remplacé", name="compromised-3-propose")
    karim.go("/backend/erp")
    leading(karim, "release-approve").click()
    confirmed(karim, "Vu avec la DSI", name="compromised-4-approve")
    outside(lambda: until(lambda: final(relais) == 100, 120, 0.3, "what waited is with the ERP, or needs a person"))
    agreed(at_first_page(jeanne), relais)
    assert "quarant" not in headline(jeanne, ".").lower()
    jeanne.sound("compromised-5-released")


def at_first_page(visitor: Visitor) -> Visitor:
    """The visitor, at the overview."""
    visitor.go("/")
    return visitor
