"""The console in a real browser, briefly: the first page in both languages, light, dark and on a phone."""

from collections.abc import Iterator

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from tests.acceptance.console.browsing import Browsers, Look, chromium, in_chromium
from tests.cli import command, environment, running
from workers.console.access.people import Role

pytestmark = [pytest.mark.acceptance, *in_chromium]


@pytest.fixture
def browsers(settings: Settings, leash: Leash) -> Iterator[Browsers]:
    """Browsers on a console process of the test's own."""
    port = choose()
    with (
        running(leash, "console", command("console", "--port", str(port)), environment(settings)),
        chromium() as found,
    ):
        yield Browsers(found, f"http://127.0.0.1:{port}", settings.need("database_url"))


def test_the_first_page_is_sound_in_every_way_it_can_be_looked_at(browsers: Browsers) -> None:
    for look in (Look("fr", "light", "desktop"), Look("en", "dark", "phone")):
        with browsers.someone("jeanne", Role.OPERATOR, look) as jeanne:
            jeanne.go("/")
            jeanne.sound("smoke-overview")
