"""The intake's own pages in a real browser: sound in light and dark, on a desktop and on a phone."""

from collections.abc import Iterator

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from tests.acceptance.console.browsing import Browsers, Look, chromium, in_chromium
from tests.cli import command, environment, running

pytestmark = [pytest.mark.acceptance, *in_chromium]


@pytest.fixture
def browsers(settings: Settings, leash: Leash) -> Iterator[Browsers]:
    port = choose()
    with running(leash, "api", command("api", "--port", str(port)), environment(settings)), chromium() as found:
        yield Browsers(found, f"http://127.0.0.1:{port}", settings.need("database_url"))


def test_the_first_page_leads_to_the_reference_and_both_are_sound(browsers: Browsers) -> None:
    for look in (Look("en", "light", "desktop"), Look("en", "dark", "phone")):
        with browsers.stranger(look) as visitor:
            page = visitor.go("/")
            visitor.sound("intake-landing")
            page.get_by_role("link", name="The API's reference").click()
            page.get_by_role("link", name="POST /orders", exact=True).click()
            assert page.url.endswith("/docs#post_order")
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.tagName") == "A"
            visitor.sound("intake-reference")
