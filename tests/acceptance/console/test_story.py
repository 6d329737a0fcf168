"""An outage from its first minute to its report, through the pages alone: one operator, an approver beside, real
browsers, a real stack. What they do is what the journal says was done.
"""

from zoneinfo import ZoneInfo

import pytest

from tests.acceptance.console.acting import (
    CALM,
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
from tests.acceptance.running import Relais, sql
from tests.waiting import until
from workers.console.access.people import Role

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(900), *in_chromium]

PARIS = ZoneInfo("Europe/Paris")  # the console's zone
WHY = "Les commandes partent chiffrées <script>alert(1)</script>"
PAIRS = {  # how the operator looks at it, and the approver
    "fr": (Look("fr", "dark", "desktop"), Look("en", "light", "phone")),
    "en": (Look("en", "light", "desktop"), Look("fr", "dark", "phone")),
}


@pytest.mark.parametrize("tongue", PAIRS)
def test_an_outage_is_seen_held_released_and_replayed_by_two(relais: Relais, browsers: Browsers, tongue: str) -> None:
    relais.dial(refuse_rate=0.1)
    outside(lambda: relais.submit(120))
    outside(lambda: until(lambda: final(relais) == 120, 60, 0.2, "orders are delivered or refused"))
    hers, his = PAIRS[tongue]
    with (
        browsers.someone("jeanne", Role.OPERATOR, hers) as jeanne,
        browsers.someone("karim", Role.APPROVER, his) as karim,
    ):
        it_is_seen(relais, jeanne)
        it_is_held(relais, jeanne)
        a_replay_is_prepared(relais, jeanne)
        two_release_it(relais, jeanne, karim)
        the_replay_passes_its_gates(relais, jeanne)
        a_group_of_dead_letters_is_replayed(relais, jeanne)
        it_is_reported(relais, jeanne)
    assert operations(relais) == {
        "quarantine": 1,
        "replay": 2,
        "replay hold": 1,
        "release proposed": 1,
        "release": 1,
        "replay next": 3,
        "replay resume": 1,
        "audit": 1,
        "report": 1,
    }


def it_is_seen(relais: Relais, jeanne: Visitor) -> None:
    """The circuit opens before the eyes of who looks, without a reload."""
    jeanne.go("/")
    refused = agreed(jeanne, relais).dead
    headline(jeanne, rf"^{refused} (dead letters need a person|commandes en souffrance attendent une personne)$")
    jeanne.page.evaluate("window.unbroken = true")
    relais.dial(down=True)
    outside(lambda: relais.submit(150))
    jeanne.says("circuit ouvert|circuit open", "main")
    headline(jeanne, r"^erp\s?: (the circuit is open since|le circuit est ouvert depuis)")
    assert agreed(jeanne, relais).backlog == 150
    assert jeanne.page.evaluate("window.unbroken"), "it was not loaded again"
    jeanne.sound("story-1-open")


def it_is_held(relais: Relais, jeanne: Visitor) -> None:
    """Quarantine, by a double click: one operation, whose reason is shown as text."""
    leading(jeanne, "quarantine").click()
    confirmed(jeanne, WHY, name="story-2-quarantine", clicks=2)
    jeanne.go("/")
    said = headline(jeanne, r"^erp (is in quarantine since|est en quarantaine depuis)")
    assert "jeanne" in said and WHY in said, said
    assert agreed(jeanne, relais).backlog == 150
    assert operations(relais)["quarantine"] == 1


def a_replay_is_prepared(relais: Relais, jeanne: Visitor) -> None:
    """The ERP is back, but nothing is sent to it: a replay waits, and is to wait after each stage too."""
    before = sum(relais.effects().values())
    relais.dial()
    jeanne.go("/recovery/replay?backend=erp").locator("main form button").first.click()
    confirmed(jeanne, "Reprise par paliers", name="story-3-replay")
    jeanne.go("/recovery").locator("[id^=hold-]").click()
    confirmed(jeanne, "Un palier après l'autre")
    assert sum(relais.effects().values()) == before


def two_release_it(relais: Relais, jeanne: Visitor, karim: Visitor) -> None:
    """One proposes; the other sees the very snapshot, which the first cannot approve, and approves."""
    before = sum(relais.effects().values())
    jeanne.go("/").locator("main a[href='/backend/erp']").first.click()
    leading(jeanne, "release-propose").click()
    confirmed(jeanne, "Sauvegarde restaurée, vue avec la DSI", name="story-4-propose")
    jeanne.go("/backend/erp")
    assert leading(jeanne, "release-approve").count() == 0
    karim.go("/").locator("main a[href='/backend/erp']").first.click()
    karim.sound("story-5-proposal")
    leading(karim, "release-approve").click()
    assert "Sauvegarde restaurée" in karim.page.locator("main").inner_text()
    assert sum(relais.effects().values()) == before
    confirmed(karim, "Seen with the ERP's people", name="story-6-approve")


def the_replay_passes_its_gates(relais: Relais, jeanne: Visitor) -> None:
    """One order, ten, a hundred, the rest: each stage is let begin by a person who watches it without a reload.

    It held, for the backend was in quarantine, and goes on once somebody says so.
    """
    jeanne.go("/recovery").locator("[id^=resume-]").click()
    confirmed(jeanne, "Quarantaine levée", name="story-7-resume")
    for stage in ("1", "10", "100"):
        word = jeanne.go("/recovery").locator(f"[id^=next-][href$='&stage={stage}']")  # the page may be a second old
        word.wait_for()
        jeanne.sound(f"story-7-after-{stage}")
        word.click()
        confirmed(jeanne, f"Les {stage} sont arrivées")
    jeanne.go("/recovery")
    jeanne.page.locator("[id^=progress-]").wait_for(state="detached")
    jeanne.sound("story-7-through")
    jeanne.page.locator("main a[href^='/recovery/replays/']").first.click()
    jeanne.sound("story-7-replay")
    assert outside(lambda: sql(relais, "SELECT state FROM replays")) == [("done",)]
    assert outside(lambda: final(relais)) == 270
    jeanne.go("/")
    agreed(jeanne, relais)
    headline(jeanne, "dead letters need a person|commandes en souffrance attendent une personne")


def a_group_of_dead_letters_is_replayed(relais: Relais, jeanne: Visitor) -> None:
    """And the life of one of them is read."""
    jeanne.go("/dead").locator("main th a[href^='/dead/']").first.click()
    jeanne.sound("story-8-group")
    order = jeanne.page.locator("main td a[href^='/order/']").first.get_attribute("href")
    leading(jeanne, "dead-replay").click()
    confirmed(jeanne, "Comptes rouverts par l'ERP", name="story-8-replay")
    outside(lambda: until(lambda: relais.states()["dead"] == 0, 60, 0.3, "the dead letters went through"))
    jeanne.go(order or "")
    told = jeanne.page.locator("#life").inner_text()
    assert "jeanne" in told and "Comptes rouverts" in told, told
    assert jeanne.page.locator("svg.life rect").count() >= 4
    jeanne.sound("story-9-life")


def it_is_reported(relais: Relais, jeanne: Visitor) -> None:
    """Both files of the report, and the record of it all."""
    jeanne.go("/")
    headline(jeanne, CALM)
    assert agreed(jeanne, relais) == (0, 0, 270)
    accepted, delivered, _, largest, left = reported(jeanne, "Pour la direction", "story-10")
    assert accepted == delivered + left == 270  # its time may end before the last dead letter was replayed
    assert 150 <= largest <= 270
    outage = row(relais, "SELECT began_at, ended_at, failures FROM outages")
    assert outage["ended_at"] is not None
    told = jeanne.page.get_by_role("table").filter(has_text="erp").first.inner_text()
    assert str(outage["failures"]) in told and f"{outage['began_at'].astimezone(PARIS):%H:%M:%S}" in told, told
    for ending, begins in ((".html", b"<!doctype html>"), (".pdf", b"%PDF-1.")):
        with jeanne.page.expect_download() as waiting:
            jeanne.page.locator(f"main a[download][href$='{ending}']").click()
        found = waiting.value.path().read_bytes()
        assert found[:15].lower().startswith(begins.lower()) and len(found) > 5_000
    jeanne.go("/operations")
    jeanne.sound("story-11-operations")
