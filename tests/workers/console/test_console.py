"""The console as a whole: who gets in, what every answer carries, that every sentence exists in French."""

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator
from string import Formatter

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from fastapi.routing import APIRoute

from config.settings import Settings
from orders.sentences import Code
from tests.machines.tools import ROOT
from tests.workers.console.site import serving, text_of
from workers.console.access.guard import at_least
from workers.console.access.people import Role
from workers.console.app import create_app
from workers.console.i18n import languages
from workers.console.masking import OURS
from workers.console.security_headers import HEADERS

CONSOLE = ROOT / "workers" / "console"
OPEN = {"/healthz", "/login", "/login/oidc", "/login/oidc/callback", "/display"}


def test_every_page_wants_somebody_who_is_logged_in(settings: Settings) -> None:
    guards = {at_least(role).__code__ for role in Role}
    for route in create_app(settings).routes:
        if isinstance(route, APIRoute) and route.path not in OPEN:
            asked = {getattr(each.call, "__code__", None) for each in route.dependant.dependencies}
            assert asked & guards, route.path


def test_an_answer_carries_the_guards_and_a_stranger_is_sent_to_the_login(settings: Settings) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter()
            for answer in (
                await jeanne.get("/"),
                await site.stranger().get("/nothing"),
                await jeanne.get("/nothing"),
            ):
                assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
                assert answer.headers["cache-control"] == "no-store"
            assert (await jeanne.get("/")).status_code == 200
            sent = await site.stranger().get("/?x=1")
            assert sent.status_code == 303
            assert sent.headers["location"] == "/login?next=%2F%3Fx%3D1"

    asyncio.run(look())


def test_the_language_is_the_browsers(settings: Settings) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter()
            assert "Overview" in text_of(await jeanne.get("/"))
            french = await jeanne.get("/", headers={"Accept-Language": "de;q=0.9, fr-CH;q=0.8, en;q=0.1"})
            assert "Vue d'ensemble" in text_of(french)
            assert '<html lang="fr"' in french.text

    asyncio.run(look())


def test_every_sentence_is_in_french() -> None:
    methods = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
    keywords = {"_": None, "N_": None, "gettext": None, "ngettext": (1, 2)}
    found = extract_from_dir(str(CONSOLE), methods, keywords=keywords)
    french = {one for one, *_ in written("fr")}
    missing = set()
    for file, line, message, _, _ in found:
        one = message if isinstance(message, str) else message[0]
        if one and one not in french:
            missing.add(f"{file}:{line}: {one}")
    assert sorted(missing) == []


def written(locale: str) -> Iterator[tuple[str, ...]]:
    """What the catalogues hold, a sentence's forms in English each."""
    for file in (CONSOLE / "locale" / locale).glob("*.po"):
        with file.open("rb") as source:
            for message in read_po(source, locale=locale):
                if message.id:
                    yield (message.id,) if isinstance(message.id, str) else tuple(message.id)


def test_every_plural_is_one_in_french() -> None:
    english, french = (languages("UTC")[locale] for locale in ("en", "fr"))
    plurals = {forms for forms in written("fr") if len(forms) == 2}
    assert len(plurals) >= 15
    for one, many in plurals:
        assert [english.ngettext(one, many, n) for n in (0, 1, 2)] == [many, one, many]
        none, single, two, five = (french.ngettext(one, many, n) for n in (0, 1, 2, 5))
        assert none == single and two == five, (one, "0 and 1 are singular in French")
        for said in (single, two):
            assert sorted(re.findall(r"%\(\w+\)|{\w*", said)) == sorted(re.findall(r"%\(\w+\)|{\w*", many)), said


def test_every_sentence_with_a_code_is_in_french_with_the_same_parameters() -> None:
    french = set(written("fr"))
    for code in set(Code) - {Code.TEXT}:
        assert ((code.one, code.many) if code.many else (code.one,)) in french, code
        for n in (1, 2):
            form = code.many if n == 2 and code.many else code.one
            said = languages("UTC")["fr"].ngettext(code.one, code.many or code.one, n)
            assert fields(said) == fields(form), code


def fields(form: str) -> set[tuple[str | None, str | None]]:
    return {(name, spec) for _, name, spec, _ in Formatter().parse(form) if name}


def test_every_phrase_of_ours_about_an_erp_is_in_french() -> None:
    assert {phrase for phrase in OURS if (phrase,) not in set(written("fr"))} == set()


def test_what_is_vendored_is_what_the_lock_names() -> None:
    lock = json.loads((CONSOLE / "assets" / "package-lock.json").read_text())["packages"]
    listed = json.loads((CONSOLE / "assets" / "vendored.json").read_text())
    for path, about in listed.items():
        assert lock[f"node_modules/{about['package']}"]["version"] == about["version"]
        assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == about["sha256"], path
    there = {str(path.relative_to(ROOT)) for path in (CONSOLE / "static" / "vendor").iterdir()}
    assert there == {path for path in listed if "static/vendor" in path}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
    ],
)
def test_another_sites_form_is_refused(settings: Settings, headers: dict[str, str]) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter()
            assert (await jeanne.post("/logout", headers=headers)).status_code == 403
            assert (await jeanne.get("/")).status_code == 200

    asyncio.run(look())


def test_a_room_says_what_its_own_catalogue_says_before_what_another_one_does() -> None:
    french = languages("Europe/Paris")["fr"]
    assert french.of_room("report").gettext("accepted") == "acceptées"  # orders, in a heading
    assert french.of_room("search").gettext("accepted") == "acceptée"  # an order
    assert french.of_room("search").gettext("Overview") == french.gettext("Overview") != "Overview"
