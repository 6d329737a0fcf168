"""The first account of an installation: one link, one person, once, on this very machine."""

import asyncio
import re
import stat
from collections.abc import Awaitable, Callable

import httpx
import pytest
from sqlalchemy import text

from config.acl import OPS
from config.settings import Settings
from tests.machines.roles import login
from tests.workers.console.site import ORIGIN, Site, serving, text_of
from workers.console.access.first import FILE, first_link
from workers.console.access.people import Role
from workers.console.access.sessions import COOKIE
from workers.operations import acting_as

PASSWORD = "nine slow bicycles at dusk"


pytestmark = pytest.mark.usefixtures("cheap_hashes")


def of_up(settings: Settings) -> Settings:
    """As `relais up` has them, which makes the account: an operator's, at the command line."""
    return settings.replace(database_url=login(settings.need("database_url"), OPS))


def played(settings: Settings, play: Callable[[Site, str], Awaitable[None]]) -> None:
    """On a console that serves, with the link of `relais up`."""

    async def through() -> None:
        async with serving(settings) as site:
            with acting_as("Élodie"):
                link = await first_link(of_up(settings))
            assert link is not None
            await play(site, link)

    asyncio.run(through())


async def choose(client: httpx.AsyncClient, link: str, new: str = PASSWORD, again: str = PASSWORD) -> httpx.Response:
    """Through the form behind the link."""
    form = await client.get(link)
    fields = dict(re.findall(r'name="(csrf|secret|name)" value="([^"]*)"', form.text))
    return await client.post("/first", data={**fields, "new": new, "again": again})


def test_the_link_lets_one_person_in_once_and_makes_no_second_account(settings: Settings) -> None:
    file = settings.files.data_dir / FILE

    async def play(site: Site, link: str) -> None:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert await first_link(of_up(settings)) == link, "the same, until it was used"
        came = await choose(site.stranger(), link)
        assert (came.status_code, came.headers["location"]) == (303, "/")
        assert any(each.startswith(f"{COOKIE}=") for each in came.headers.get_list("set-cookie"))
        again = await choose(site.stranger(), link, *["another password, and long"] * 2)
        assert (again.status_code, "This link was used already" in text_of(again)) == (403, True)
        assert (await first_link(of_up(settings)), file.exists()) == (None, False)
        async with site.owner.connect() as connection:
            found = await connection.execute(text("SELECT name, role FROM accounts"))
            assert [tuple(row) for row in found] == [("elodie", Role.APPROVER)]
            acts = await connection.execute(text("SELECT act, operator FROM operations ORDER BY id"))
            assert [tuple(row) for row in acts] == [("account add", "Élodie"), ("account password", "elodie")]

    played(settings, play)


def test_what_is_no_password_or_not_of_this_browser_leaves_the_link_as_it_was(settings: Settings) -> None:
    async def play(site: Site, link: str) -> None:
        client = site.stranger()
        assert (await choose(client, link, "short", "short")).status_code == 422
        assert "not the same" in text_of(await choose(client, link, PASSWORD, f"{PASSWORD}!"))
        secret = dict(httpx.URL(link).params)
        forged = await site.stranger().post("/first", data={**secret, "new": PASSWORD, "again": PASSWORD})
        assert forged.status_code == 403
        client.headers["Accept-Language"] = "fr"
        page = text_of(await client.get(link))
        assert "Le premier compte" in page
        assert "Choisissez son mot de passe. Le lien ne sert qu'une fois" in page
        assert (await choose(client, link)).status_code == 303

    played(settings, play)


def test_there_is_nothing_for_another_machine(settings: Settings) -> None:
    async def play(site: Site, link: str) -> None:
        transport = httpx.ASGITransport(site.app, raise_app_exceptions=False, client=("192.0.2.7", 4711))
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            assert (await client.get(link)).status_code == 404
            assert (await client.post("/first", data={"name": "elodie"})).status_code == 404

    played(settings, play)


def test_where_there_is_an_account_there_is_no_link(settings: Settings) -> None:
    async def through() -> None:
        async with serving(settings) as site:
            await site.enter("jeanne")
            assert await first_link(of_up(settings)) is None

    asyncio.run(through())
