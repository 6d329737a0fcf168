"""An outage from its first minute to its report, through the pages alone: one operator, an approver beside, real
browsers, a real stack. What they do is what the journal says was done.
"""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from config.embedded.leash import Leash
from tests.acceptance.browsing import Browsers, Look, Visitor, chromium, needs_chromium, outside
from tests.acceptance.running import Relais, up
from tests.waiting import until
from workers.console.access.people import Role

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(600), needs_chromium]

JEANNE, KARIM = Look("fr", "dark", "desktop"), Look("en", "light", "phone")
WHY = "Les commandes partent chiffrées <script>alert(1)</script>"


@pytest.fixture
def relais(leash: Leash) -> Iterator[Relais]:
    with up(leash, RELAIS_FOUR_EYES="true") as relais:
        yield relais


@pytest.fixture
def browsers(relais: Relais) -> Iterator[Browsers]:
    with chromium() as found:
        yield Browsers(found, relais.endpoints["console_url"], relais.endpoints["database_url"])


def act(visitor: Visitor, path: str, reason: str, confirm: str | None = None, *, clicks: int = 1) -> Page:
    """Look at an act, give a reason, do it; where it can be clicked, twice."""
    page = visitor.go(path)
    page.locator("#because").fill(reason)
    if page.locator("#confirm").count():
        said = re.search(r"(\S+)\s+(pour confirmer|to confirm)", page.locator("label[for=confirm]").inner_text())
        page.locator("#confirm").fill(confirm or (said[1] if said else "erp"))
    page.locator("main form[method=post] button[type=submit]").click(click_count=clicks)
    page.wait_for_url("**/act/*")
    return page


def test_an_outage_is_seen_held_released_and_replayed_by_two(relais: Relais, browsers: Browsers) -> None:
    relais.dial(refuse_rate=0.1)
    outside(lambda: relais.submit(120))
    outside(lambda: until(lambda: relais.states()["delivered"] > 80, 60, 0.2, "orders are delivered"))
    with (
        browsers.someone("jeanne", Role.OPERATOR, JEANNE) as jeanne,
        browsers.someone("karim", Role.APPROVER, KARIM) as karim,
    ):
        # The circuit opens before the eyes of who looks, without a reload.
        jeanne.go("/")
        jeanne.page.evaluate("window.unbroken = true")
        relais.dial(down=True)
        outside(lambda: relais.submit(60))
        jeanne.says("circuit ouvert", "main")
        assert jeanne.page.evaluate("window.unbroken"), "it was not loaded again"
        jeanne.sound("story-1-open")
        # Quarantine, by a double click: one operation.
        act(jeanne, "/acts/quarantine?backend=erp", WHY, clicks=2)
        jeanne.page.locator("#progress .pill.good").wait_for()
        jeanne.page.reload()
        jeanne.sound("story-2-quarantined")
        assert outside(lambda: done(relais, "quarantine")) == 1
        # The ERP is back, but nothing is sent.
        before = sum(relais.effects().values())
        relais.dial()
        act(jeanne, "/acts/replay-start?backend=erp&hold=yes", "Reprise par paliers")
        act(jeanne, "/acts/release-propose?backend=erp", "Sauvegarde restaurée, vue avec la DSI")
        jeanne.sound("story-3-proposed")
        assert sum(relais.effects().values()) == before
        # A second person sees the very snapshot, and approves.
        karim.go("/backend/erp")
        karim.sound("story-4-proposal")
        karim.go("/backend/erp")
        karim.page.locator("a[href*='release-approve']").first.click()
        karim.sound("story-5-approve")
        act(karim, karim.page.url.removeprefix(browsers.base), "Seen with the ERP's people")
        karim.sound("story-6-released")
        # The replay through its gates.
        jeanne.go("/recovery")
        jeanne.sound("story-7-ladder")
        outside(lambda: until(lambda: through(relais), 120, 0.3, "the replay is through"))
        # A group of dead letters, a timeline, the record.
        jeanne.go("/dead")
        jeanne.page.locator("main a[href^='/dead/']").first.click()
        jeanne.sound("story-8-group")
        relais.dial()
        jeanne.page.locator("a[href*='/acts/dead-replay']").first.click()
        act(jeanne, jeanne.page.url.removeprefix(browsers.base), "Comptes rouverts par l'ERP")
        outside(lambda: until(lambda: relais.states()["dead"] == 0, 60, 0.3, "the dead letters went through"))
        jeanne.page.reload()
        jeanne.sound("story-9-replayed")
        jeanne.go("/operations")
        jeanne.sound("story-10-operations")


def test_of_two_who_do_the_same_at_once_one_is_told(relais: Relais, browsers: Browsers) -> None:
    with browsers.someone("jeanne", Role.OPERATOR) as jeanne, browsers.someone("karim", Role.APPROVER) as karim:
        for visitor in (jeanne, karim):
            visitor.expected = (409,)
            visitor.go("/acts/pause?backend=erp").locator("#because").fill(f"by {visitor.page.url[:4]}")
        send = "main form[method=post] button[type=submit]"
        jeanne.page.locator(send).click()
        jeanne.page.wait_for_url("**/act/*")
        karim.page.locator(send).click()
        karim.says("jeanne", "main")
        karim.sound("story-two-told")
        assert outside(lambda: done(relais, "pause")) == 1


def test_without_scripts_one_can_look_and_act(relais: Relais, browsers: Browsers) -> None:
    with browsers.someone("jeanne", Role.OPERATOR, java_script_enabled=False) as jeanne:
        for path in ("/", "/dead", "/search", "/recovery", "/operations"):
            jeanne.go(path)
            assert jeanne.page.locator("h1").count() == 1
        act(jeanne, "/acts/pause?backend=erp", "Sans script")
        assert outside(lambda: done(relais, "pause")) == 1
    with browsers.stranger(java_script_enabled=False) as stranger:
        stranger.go("/")
        assert "/login" in stranger.page.url
        assert stranger.page.locator("#password").count() == 1


def done(relais: Relais, kind: str) -> int:
    """How many operations of this kind the journal holds."""
    from tests.acceptance.test_replay import sql

    return int(sql(relais, f"SELECT count(*) FROM operations WHERE act = '{kind}'")[0][0])


def through(relais: Relais) -> bool:
    """Let the next stage begin wherever the replay holds; whether nothing is left in the backlog."""
    from orders import reading
    from tests.acceptance.test_replay import sql

    if sql(relais, "SELECT id FROM replays WHERE state = 'holding'"):
        relais.tell("replay", "next", "erp", operator="jeanne")
    return relais.journal(reading.backlog_size) == 0
