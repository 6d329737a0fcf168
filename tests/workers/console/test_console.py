"""The console as a whole: who gets in, what every answer carries, that every sentence exists in French."""

import asyncio
import hashlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import repeat
from string import Formatter

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from fastapi.routing import APIRoute

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from orders.audit_codes import AuditCode
from orders.refusals import NotDone
from orders.sentences import Code, Sentence, codes
from tests.cli import command, environment, running
from tests.machines.tools import ROOT
from tests.workers.console.site import serving, text_of
from workers.console.access.guard import at_least
from workers.console.access.people import Role
from workers.console.app import create_app
from workers.console.i18n import NONE, languages, preferred
from workers.console.masking import say
from workers.console.security_headers import HEADERS
from workers.erp.own_words import OURS

CONSOLE = ROOT / "workers" / "console"
OPEN = {"/healthz", "/login", "/login/oidc", "/login/oidc/callback", "/display", "/first"}


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


def test_a_time_that_was_typed_without_a_zone_is_the_consoles_and_one_that_has_none_is_not_told() -> None:
    words = languages("Europe/Paris")["fr"]
    assert words.moment(words.typed("2024-07-01T21:02")) == "1 juil. 2024 21:02:00 CEST"
    assert words.moment(words.typed("2024-07-01T21:02Z")) == "1 juil. 2024 23:02:00 CEST"
    with pytest.raises(TypeError, match="2024-07-01 21:02:00 has no zone"):
        words.moment(datetime(2024, 7, 1, 21, 2))


def test_few_orders_a_minute_have_a_decimal() -> None:
    words = languages("Europe/Paris")["fr"]
    assert [words.rate(each) for each in (0, 3.25, 3948.4, None)] == ["0", "3,2", "3\u202f948", NONE]


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


def test_one_is_told_as_one() -> None:
    """No message counts without a plural, but for those whose numbers are constants of ours above one."""
    counted = re.compile(rf"(?:%\(\w+\)s|{{\w*(?::[^}}]*)?}}) (?:{COUNTABLE})\b")
    single = {forms[0] for forms in written("fr") if len(forms) == 1}
    assert {one for one in single if counted.search(one)} - ALWAYS_MANY == set()
    for code in codes().values():
        if code.many:
            params = {name: 1 for name, _ in fields(code.one) if name} | {"since": NOW}
            said = say(Sentence(code, **params), languages("UTC")["en"])
            assert re.search(rf"\b1 (?:{COUNTABLE})\b", said) is None, said


COUNTABLE = "acts|attempts|blocks|boxes|days|faults|hours|lines|minutes|orders|pieces|receipts|rows|seconds|workers"
ALWAYS_MANY = {
    "A page looks at %(looked)s orders at most: there may be more further back.",
    "An act takes %(most)s orders at most: narrow the filter, by time for example.",
    "In fewer than {0} of its newest parts ({1} to {2} attempts each) more than {3} fail.",
    "The first %(n)s of %(all)s lines.",
    "must be at most {most} orders' ids",
}
NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)


def test_a_code_stands_for_one_sentence() -> None:
    """Else what one of them kept is read as the other: `no_order` of an audit had been."""
    assert len(codes()) == len([*Code, *AuditCode, *NotDone])
    orphans = Sentence(AuditCode.NO_ORDER, count=3)
    assert say(orphans.stored(), languages("UTC")["en"]) == "3 deliveries without an order"


def test_every_sentence_with_a_code_is_in_french_with_the_same_parameters() -> None:
    french = set(written("fr"))
    for code in set(codes().values()) - {Code.TEXT}:
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


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("fr; q=0.1, en; q=1.0", "en"),
        ("en ;q=0.2 , fr ; Q=0.8", "fr"),
        ("en;q=x, fr;q=0.1", "fr"),
        ("en;level=1, fr;q=0.9", "en"),
        ("en\t;\tq=0.9,fr;q=1", "fr"),
        ("fr;q=0, en;q=0.001", "en"),
    ],
)
def test_what_a_browser_prefers_is_read_with_its_spaces(header: str, language: str) -> None:
    assert preferred(header) == language


@pytest.fixture
def port(leash: Leash, settings: Settings) -> Iterator[int]:
    """Where a console serves, as a process."""
    port = choose()
    with running(leash, "console", command("console", "--port", str(port)), environment(settings), ready="ready"):
        yield port


def exchanged(port: int, head: str, body: Iterator[bytes]) -> tuple[bytes, int]:
    """What comes back until the server hangs up, and how much of the body it let itself be sent."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(head.encode())
        try:
            for part in body:
                connection.sendall(part)
                sent += len(part)
        except (BrokenPipeError, ConnectionResetError):
            pass
        back = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(65536):
                back += part
    return back, sent


def test_a_body_that_nobody_wants_is_not_read_to_its_end(port: int) -> None:
    large = 1 << 30
    plain, chunk = bytes(1 << 20), b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    for path, status in (("/login", b"413"), ("/account/sessions", b"303"), ("/acts/pause", b"303"), ("/none", b"404")):
        for length, part in ((f"Content-Length: {large}", plain), ("Transfer-Encoding: chunked", chunk)):
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n"
            head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
            _, sent = exchanged(port, head, repeat(part, 1024))
            assert sent < large / 16, (path, length)
        told, _ = exchanged(port, head.replace("Transfer-Encoding: chunked", f"Content-Length: {large}"), iter(()))
        assert told.split(b" ", 2)[1] == status, (path, told[:200])
        assert b"\r\nconnection: close\r\n" in told.lower()


def test_head_is_answered_as_get_is_without_a_body(port: int) -> None:
    for path in ("/healthz", "/login", "/static/console.css", "/no-such-page"):
        answers = []
        for method in ("GET", "HEAD"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request(method, path)
            answer = connection.getresponse()
            answers.append((answer.status, answer.headers["content-type"]))
            assert (answer.read() == b"") is (method == "HEAD"), path
            connection.close()
        assert answers[0] == answers[1], path
