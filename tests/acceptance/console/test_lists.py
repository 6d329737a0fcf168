"""Lists of orders in a real browser: what stands in them is whole, at a desk and on a phone, and first things first."""

from collections.abc import Iterator

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from tests.acceptance.console.browsing import Browsers, Look, chromium, in_chromium, outside
from tests.cli import command, environment, running
from tests.journal import Journal
from tests.machines.roles import above
from workers.console.access.people import Role

pytestmark = [pytest.mark.acceptance, *in_chromium]

OF_EACH_STATE = """
WITH stands AS (
  SELECT state, number FROM unnest(ARRAY['accepted', 'dispatched', 'delivering', 'submitted', 'delivered', 'dead',
    'cancelled', 'discarded']) WITH ORDINALITY AS s (state, number)
), taken AS (
  INSERT INTO orders (id, pharmacy, reference, body, digest, client)
  SELECT CAST('0197a3c2-1111-7000-8000-00000000000' || number AS uuid), '2A0000123', 'CMD-2026-000' || number,
    '{"lines": []}', 'd', 'front' FROM stands RETURNING id, reference
)
INSERT INTO deliveries (order_id, state, backend, priority, cut_off, reason, error, settled_at)
SELECT id, state, 'erp', 1, 'infinity', CASE state WHEN 'dead' THEN 'exhausted' END,
  CASE state WHEN 'dead' THEN 'quota' END,
  CASE WHEN state IN ('delivered', 'dead', 'cancelled', 'discarded') THEN now() END
FROM taken JOIN stands ON reference = 'CMD-2026-000' || number
"""

PHARMACY = "2A0000123"
STATES = """() => [...document.querySelectorAll("td .pill")].map(each => ({state: each.innerText,
  right: each.getBoundingClientRect().right, edge: each.closest(".scroll").getBoundingClientRect().right}))"""
SELECTS = """() => Object.fromEntries([...document.querySelectorAll(".sift select")].map(each => {
  const is = each.offsetWidth;
  each.style.width = each.style.maxWidth = "max-content";
  each.parentElement.style.maxWidth = "none";
  return [each.id, [is, each.offsetWidth]]; }))"""


@pytest.fixture
def browsers(settings: Settings, leash: Leash, owner_url: str) -> Iterator[Browsers]:
    """Browsers on a console process of the test's own, with an order in each state."""
    port = choose()
    outside(lambda: Journal(owner_url).sql(OF_EACH_STATE))
    with (
        running(leash, "console", command("console", "--port", str(port)), environment(settings)),
        chromium() as found,
    ):
        yield Browsers(found, f"http://127.0.0.1:{port}", above(settings.need("database_url")))


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_state_of_an_order_is_whole_on_a_phone(browsers: Browsers, language: str) -> None:
    with browsers.someone("jeanne", Role.OPERATOR, Look(language, "light", "phone")) as jeanne:
        for page in ("/orders", "/search?by=starts&q=CMD-2026", f"/pharmacy/{PHARMACY}"):
            jeanne.go(page)
            states = jeanne.page.evaluate(STATES)
            assert len(states) == 8, page
            assert [each for each in states if each["right"] > each["edge"]] == [], page
        jeanne.go("/orders")
        jeanne.sound("lists-orders")


@pytest.mark.parametrize("language", ["fr", "en"])
def test_what_a_list_is_filtered_by_stands_before_the_arrow(browsers: Browsers, language: str) -> None:
    with browsers.someone("jeanne", Role.OPERATOR, Look(language, "light", "wide")) as jeanne:
        jeanne.go("/orders?state=submitted")
        jeanne.sound("lists-orders")
        cramped = {name: widths for name, widths in jeanne.page.evaluate(SELECTS).items() if widths[0] < widths[1]}
        assert cramped == {}, "narrower than they would be by themselves"


def test_a_sample_of_orders_begins_with_what_people_know_them_by(browsers: Browsers) -> None:
    with browsers.someone("jeanne", Role.OPERATOR, Look("fr", "light", "phone")) as jeanne:
        for form, further in {
            "/acts/replay-start?backend=erp": ["Reçue"],
            "/acts/dead-discard?reason=exhausted": ["Reçue", "Motif"],
            "/acts/orders-cancel?state=accepted&client=front": ["Reçue"],
        }.items():
            jeanne.go(form)
            sample = jeanne.page.locator("section[aria-labelledby='sample']")
            assert sample.locator("th").all_inner_texts() == ["Officine", "Référence", "Commande", *further], form
            row = sample.locator("tbody tr").first.locator("td").all_inner_texts()
            assert row[:2] == [PHARMACY, f"CMD-2026-000{row[2][-1]}"]
        jeanne.sound("lists-sample")
