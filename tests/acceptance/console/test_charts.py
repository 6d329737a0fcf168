"""The charts in a real browser: what they draw, what they tell, and their axes."""

from collections.abc import Iterator

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from tests.acceptance.console.browsing import Browsers, Look, chromium, in_chromium, outside
from tests.cli import command, environment, running
from tests.journal import Journal
from tests.machines.roles import above
from tests.waiting import until
from workers.console.access.people import Role

pytestmark = [pytest.mark.acceptance, *in_chromium]


HEARD = """() => { const read = document.querySelector("#chart-backlog + .read"); window.told = [];
  new MutationObserver(() => told.push(read.textContent)).observe(read, {childList: true}); }"""
CELLS = "[...document.querySelectorAll('#figures-of-charts tr')].map(row => row.innerText.split('\\t'))"
BURST = """
INSERT INTO samples (at, accepted, delivered, dead, cancelled, discarded, backlog, lasting, peak)
SELECT now() - n * interval '1 minute', made, made, 0, 0, 0, 0, true, CASE n WHEN 660 THEN 1500000 ELSE 0 END
FROM generate_series(0, 1430) n, LATERAL (SELECT CASE WHEN n <= 660 THEN 1500000 ELSE 0 END AS made) m
"""
LATELY = """
UPDATE samples SET delivered = delivered + 2, oldest = at - interval '90 s' WHERE at = (SELECT max(at) FROM samples)
"""
DRAWN = """window.drawn = []; const fill = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  drawn.push(text); fill.call(this, text, ...place); };"""


@pytest.fixture
def browsers(settings: Settings, leash: Leash) -> Iterator[Browsers]:
    """Browsers on a console process of the test's own."""
    port = choose()
    with (
        running(leash, "console", command("console", "--port", str(port)), environment(settings)),
        chromium() as found,
    ):
        yield Browsers(found, f"http://127.0.0.1:{port}", above(settings.need("database_url")))


@pytest.fixture
def journal(owner_url: str) -> Journal:
    return Journal(owner_url)


def test_the_charts_tell_their_values_whole_and_as_a_table(browsers: Browsers, journal: Journal) -> None:
    """A burst of 1.5 million that waited between two samples, eleven hours ago."""
    with browsers.someone("jeanne", Role.OPERATOR, Look("en", "light", "desktop")) as jeanne:
        outside(lambda: journal.sql(BURST))
        page = jeanne.go("/?span=24h")
        flow, backlog = page.locator("#chart-flow"), page.locator("#chart-backlog")
        page.locator("#chart-backlog .u-over").wait_for()
        series = page.evaluate("fetch('/live/series?span=24h').then(answer => answer.json())")
        assert (max(series["backlog"]), max(series["accepted"])) == (1_500_000, 375_000), "over four minutes"
        backlog.scroll_into_view_if_needed()
        over = backlog.locator(".u-over").bounding_box()
        assert over is not None
        share = (series["at"][series["backlog"].index(1_500_000)] - series["at"][-1]) / 86_400 + 1
        page.evaluate(HEARD)
        for pixel in range(-8, 9):  # there are as many points as pixels
            page.mouse.move(over["x"] + share * over["width"] + pixel, over["y"] + 20)
        until(lambda: page.evaluate("told.some(each => each.includes('Backlog: at most 1,500,000'))"), 60)
        page.mouse.move(5, 5)
        until(lambda: page.evaluate("told.at(-1).includes('Backlog: at most 0')"), 60)  # nobody points
        assert over["x"] - (backlog.bounding_box() or over)["x"] > 80, "room for 1,500,000"
        assert flow.get_attribute("aria-label") == "Orders a minute: 0 in, 0 out, 0 dead"
        page.get_by_text("The same in figures").click()
        page.locator("#figures-of-charts tr").first.wait_for()
        cells = page.locator("#figures-of-charts tr").evaluate_all(
            "rows => rows.map(row => row.innerText.split('\\t'))"
        )
        assert [float(row[4].replace(",", "")) for row in cells] == series["backlog"][::-1]
        assert [float(row[1].replace(",", "")) for row in cells] == series["accepted"][::-1]
        assert page.get_by_text("Times are told in Europe/Paris.").is_visible()
        jeanne.sound("smoke-charts")
        scriptless = page.goto(f"{browsers.base}/?span=24h&figures=true")
        assert scriptless is not None
        assert scriptless.text().count("1,500,000") == 1
        assert scriptless.text().count("<tr>") > 350


def test_french_charts_write_their_figures_as_the_page_does(browsers: Browsers, journal: Journal) -> None:
    with browsers.someone("jeanne", Role.OPERATOR, Look("fr", "light", "desktop")) as jeanne:
        outside(lambda: (journal.sql(BURST), journal.sql(LATELY)))
        jeanne.page.add_init_script(DRAWN)
        page = jeanne.go("/?span=24h")
        page.locator("#chart-backlog .u-over").wait_for()
        until(lambda: "1\u202f500\u202f000" in page.evaluate("drawn"), 60, what="the backlog's axis is drawn")
        assert [each for each in page.evaluate("drawn") if "." in each or "," in each] == [], "the axes"
        flow, backlog = (page.locator(f"#chart-{name} + .read").inner_text() for name in ("flow", "backlog"))
        assert flow.endswith("Commandes par minute\u202f: 0 entrées, 0,5 sorties, 0 en souffrance")
        assert backlog.endswith("En attente\u202f: au plus 0\u202f; âge de la plus ancienne\u202f: 1,5 min")
        page.get_by_text("Les mêmes en chiffres").click()
        page.locator("#figures-of-charts tr").first.wait_for()
        script = [row[1:] for row in page.evaluate(CELLS)]
        jeanne.sound("french-charts")
        page.goto(f"{browsers.base}/?span=24h&figures=true")
        server = [row[1:] for row in page.evaluate(CELLS)]
        for rows in (script, server):
            assert rows[0] == ["0", "0,5", "0", "0", "1,5"]
            assert ["375\u202f000", "375\u202f000", "0", "1\u202f500\u202f000", "\N{EN DASH}"] in rows
