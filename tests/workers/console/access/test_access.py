"""Who gets in to the console and who does not: logins, sessions, roles, forged forms and cookies."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi import Request
from sqlalchemy import text

from config.settings import Settings
from tests.workers.console.site import Browser, Site, serving, text_of
from workers.console.access import accounts
from workers.console.access.guard import Operator
from workers.console.access.passwords import Passwords
from workers.console.access.people import Role
from workers.console.access.sessions import COOKIE, FRESH, KNOWN, Sessions, Unasked, csrf_of

PASSWORD = "nine slow bicycles at dusk"
CHEAP = partial(PasswordHasher, time_cost=1, memory_cost=1024, parallelism=1)
HASH = CHEAP().hash(PASSWORD)


@pytest.fixture
def full_cost() -> None:
    """For tests of what a hash costs."""


@pytest.fixture(autouse=True)
def cheap(request: pytest.FixtureRequest) -> None:
    if "full_cost" not in request.fixturenames:
        request.getfixturevalue("cheap_hashes")


def played(settings: Settings, play: Callable[[Site], Awaitable[None]]) -> None:
    """On a console that serves, with the account jeanne."""

    async def through() -> None:
        async with serving(settings) as site:
            await accounts.add(site.owner, "jeanne", Role.OPERATOR, password=HASH)
            await play(site)

    asyncio.run(through())


async def log_in(
    client: httpx.AsyncClient, name: str = "jeanne", password: str = PASSWORD, wanted: str = "/", **options: Any
) -> httpx.Response:
    """Through the form."""
    form = await client.get("/login", headers=options.get("headers"))
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form.text))
    return await client.post("/login", data={**fields, "name": name, "password": password, "next": wanted}, **options)


async def sql(site: Site, statement: str, **values: object) -> Any:
    async with site.owner.connect() as connection:
        found = await connection.execute(text(statement), values)
        return found.all() if found.returns_rows else None


def test_somebody_logs_in_and_out_and_the_browsers_token_is_another_each_time(settings: Settings) -> None:
    async def play(site: Site) -> None:
        client = site.stranger()
        client.cookies.set(COOKIE, "brought-along-by-whoever", domain="console.test")
        came = await log_in(client, " Jeanne ", wanted="/search?q=1")
        assert (came.status_code, came.headers["location"]) == (303, "/search?q=1")
        [kept] = [each for each in came.headers.get_list("set-cookie") if each.startswith(f"{COOKIE}=")]
        first = client.cookies.get(COOKIE, domain="console.test") or kept.partition("=")[2].partition(";")[0]
        assert first != "brought-along-by-whoever"
        assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/"} <= {part.strip() for part in kept.split(";")}
        assert "domain" not in kept.lower()
        fresh = Browser(site.stranger(), csrf_of(first))
        fresh.client.cookies.set(COOKIE, first)
        assert "jeanne" in text_of(await fresh.get("/account"))
        again = await fresh.get("/login?next=//evil.test")
        assert (again.status_code, again.headers["location"]) == (303, "/")
        assert (await fresh.post("/logout")).headers["location"] == "/login"
        gone = Browser(site.stranger(), "")
        gone.client.cookies.set(COOKIE, first)
        assert (await gone.get("/account")).status_code == 303
        assert await sql(site, "SELECT 1 FROM console_sessions") == []

    played(settings, play)


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.test",
        "/\\evil.test",
        "https://evil.test/",
        "\\\\evil.test",
        "/\t/evil.test",
        "javascript:alert(1)",
        "evil.test",
        "/\n/evil.test",
        "",
        "/login",
        "///evil.test",
        "/x" * 2000,
    ],
)
def test_a_login_leads_to_no_other_site(settings: Settings, wanted: str) -> None:
    async def play(site: Site) -> None:
        assert (await log_in(site.stranger(), wanted=wanted)).headers["location"] == "/"

    played(settings, play)


def test_a_wrong_login_says_the_same_whatever_is_wrong_and_always_takes_a_hash(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looked: list[str] = []
    verify = Passwords._verify

    def counted(self: Passwords, kept: str, password: str) -> bool:
        looked.append(kept.rpartition("$")[0].rpartition("$")[0])
        return verify(self, kept, password)

    monkeypatch.setattr(Passwords, "_verify", counted)

    async def play(site: Site) -> None:
        engine = site.owner
        await accounts.add(engine, "gone", Role.VIEWER, password=HASH)
        await accounts.disable(engine, "gone")
        await accounts.add(engine, "oidc", Role.VIEWER, subject="https://id.test#1")
        said = set()
        for name, password in (
            ("jeanne", "wrong"),
            ("nobody-at-all", PASSWORD),
            ("gone", PASSWORD),
            ("oidc", PASSWORD),
            ("jeanne", ""),
            ("my own secret", "x"),
            ("\0", "\0"),
            ("jeanne", "x" * 2000),
        ):
            refused = await log_in(site.stranger(), name, password)
            assert refused.status_code == 403
            said.add(re.search(r'id="said"><span>([^<]*)', refused.text)[1])  # type: ignore[index]
        assert len(said) == 1
        assert len(looked) == 8
        assert len(set(looked)) == 1  # the very same work

    played(settings, play)
    lines = [record.__dict__ for record in caplog.records if record.message == "login refused"]
    assert [(line["account"], line["why"]) for line in lines][:4] == [
        ("jeanne", "wrong password"),
        (None, "no account"),
        ("gone", "disabled"),
        ("oidc", "wrong password"),
    ]
    assert "my own secret" not in caplog.text


def test_a_login_form_that_is_not_of_this_browser_is_refused(settings: Settings) -> None:
    async def play(site: Site) -> None:
        for csrf, cookie in ((None, None), ("", ""), (csrf_of("a"), "b"), (csrf_of("a"), None), ("\xff", "\xff" * 9)):
            client = site.stranger()
            cookies = {} if cookie is None else {"Cookie": f"__Host-relais-login={cookie}"}
            data = {"name": "jeanne", "password": PASSWORD} | ({} if csrf is None else {"csrf": csrf})
            headers = {key: value.encode("latin-1") for key, value in cookies.items()}
            refused = await client.post("/login", data=data, headers=headers)  # type: ignore[arg-type]
            assert (refused.status_code, "Please try again" in refused.text) == (403, True)
        assert (await site.stranger().post("/display", data={"theme": "dark"})).status_code == 403

    played(settings, play)


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "x",
        "é",
        "x" * 60_000,
        "\0",
        "%00",
        "a; __Host-relais=b",
        '"quoted',
        "'; DROP TABLE accounts; --",
        "=",
        ";;;",
    ],
)
def test_a_garbage_cookie_is_nobodys(settings: Settings, cookie: str) -> None:
    async def play(site: Site) -> None:
        header = f"{COOKIE}={cookie}".encode("latin-1")
        for path in ("/account", "/"):
            refused = await site.stranger().get(path, headers={"Cookie": header})  # type: ignore[dict-item]
            assert refused.status_code == 303
        assert (await site.stranger().get("/login", headers={"Cookie": header})).status_code == 200  # type: ignore[dict-item]

    played(settings, play)


def test_a_forged_token_counts_for_nothing_and_one_session_has_not_anothers(settings: Settings) -> None:
    async def play(site: Site) -> None:
        jeanne, paul = await site.enter(), await site.enter("paul")
        for token in ("", "x", paul.csrf, jeanne.csrf[:-1], "é"):
            refused = await jeanne.client.post("/account/sessions", data={"csrf": token})
            assert refused.status_code == 403
        assert (await jeanne.client.post("/account/sessions")).status_code == 403
        assert (await jeanne.client.post("/display", data={"csrf": paul.csrf})).status_code == 403
        by_header = await jeanne.client.post("/account/sessions", headers={"X-CSRF-Token": jeanne.csrf})
        assert by_header.status_code == 303

    played(settings, play)


def test_a_body_larger_than_any_form_is_not_taken_in(settings: Settings) -> None:
    async def play(site: Site) -> None:
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            headers = {"Content-Type": kind}
            content = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n" + b"a" * 1_100_000
            refused = await site.stranger().post("/login", content=content, headers=headers)
            assert refused.status_code == 413
        torn = {"Content-Type": "multipart/form-data"}
        assert (await site.stranger().post("/login", content=b"--", headers=torn)).status_code in (400, 403)

    played(settings, play)


def test_a_viewer_may_not_act_and_a_role_changes_at_once(settings: Settings) -> None:
    async def play(site: Site) -> None:
        async def act(request: Request, who: Operator) -> dict[str, str]:
            return {"by": who.name}

        site.app.add_api_route("/test/act", act, methods=["POST"])
        viewer, operator = await site.enter("vera", Role.VIEWER), await site.enter("paul")
        refused = await viewer.post("/test/act")
        assert (refused.status_code, "this takes the role operator" in refused.text) == (403, True)
        assert (await operator.post("/test/act")).json() == {"by": "paul"}
        await accounts.set_role(site.owner, "paul", Role.VIEWER)
        await _until_out(operator, 4 * FRESH)

    played(settings, play)


@pytest.mark.parametrize(
    "ending",
    [
        "accounts.disable",
        "accounts.logout",
        "accounts.set_password",
        "idle",
        "whole",
    ],
)
def test_a_session_ends_within_seconds(settings: Settings, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.console.access.sessions.FRESH", 0.05)

    async def play(site: Site) -> None:
        jeanne, engine = await site.enter(), site.owner
        assert (await jeanne.get("/account")).status_code == 200
        if ending == "idle":
            await sql(site, "UPDATE console_sessions SET seen_at = now() - interval '1801 s'")
        elif ending == "whole":
            await sql(site, "UPDATE console_sessions SET expires_at = now()")
        else:
            act = getattr(accounts, ending.partition(".")[2])
            await act(engine, "jeanne", *(["a hash"] if "password" in ending else []))
        await _until_out(jeanne, 2)
        if ending == "accounts.disable":
            assert (await log_in(site.stranger())).status_code == 403
            await accounts.enable(engine, "jeanne")
            assert (await log_in(site.stranger())).status_code == 303

    played(settings, play)


async def _until_out(browser: Browser, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while (await browser.get("/account")).status_code != 303:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_a_session_in_use_is_noted_now_and_then_not_each_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.console.access.sessions.FRESH", 0.0)

    async def play(site: Site) -> None:
        jeanne = await site.enter()
        before = await sql(site, "SELECT seen_at, xmin::text FROM console_sessions")
        for _ in range(3):
            await jeanne.get("/account")
        assert await sql(site, "SELECT seen_at, xmin::text FROM console_sessions") == before
        await sql(site, "UPDATE console_sessions SET seen_at = now() - interval '31 s'")
        await jeanne.get("/account")
        [[age]] = await sql(site, "SELECT extract(epoch FROM now() - seen_at) FROM console_sessions")
        assert age < 5

    played(settings, play)


def test_while_the_journal_is_away_who_was_in_may_look_until_the_session_ends(settings: Settings) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            sessions: Sessions = site.app.state.access.sessions
            await site.enter("other")
            jeanne, token = await site.enter(), ""
            token = next(iter(jeanne.client.cookies.jar)).value or ""
            assert (await jeanne.get("/account")).status_code == 200
            away = settings.replace(database_url="postgresql://127.0.0.1:1/x")
            async with serving(away) as dark:
                sessions.engine = dark.app.state.console.engine
                [known] = sessions._known.values()
                known.looked -= FRESH
                assert await sessions.find(token) is not None
                with pytest.raises(Unasked):
                    await sessions.find("another")
                known.looked, known.until = known.looked - FRESH, known.looked - FRESH
                assert await sessions.find(token) is None
                known.until += settings.console.session
                known.used -= settings.console.idle + 1
                assert await sessions.find(token) is None
                refused = await log_in(dark.stranger())
                assert (refused.status_code, "out of reach" in refused.text) == (503, True)

    asyncio.run(look())


def test_what_a_process_remembers_is_bounded(settings: Settings) -> None:
    async def play(site: Site) -> None:
        sessions: Sessions = site.app.state.access.sessions
        token = await sessions.begin("jeanne")
        assert await sessions.find(token) is not None
        [known] = sessions._known.values()
        for number in range(KNOWN + 10):
            sessions._remember(str(number).encode(), known)
        assert len(sessions._known) == KNOWN
        assert await sessions.find("x" * 100_000) is None

    played(settings, play)


def test_own_sessions_are_shown_and_the_others_ended(settings: Settings) -> None:
    async def play(site: Site) -> None:
        phone, laptop, other = await site.enter(), await site.enter(), await site.enter("paul")
        shown = text_of(await laptop.get("/account"))
        assert (shown.count("this one"), shown.count("another")) == (1, 1)
        assert (await laptop.post("/account/sessions")).status_code == 303
        assert (await phone.get("/account")).status_code == 303
        assert "End the others" not in (await laptop.get("/account")).text
        assert (await other.get("/account")).status_code == 200

    played(settings, play)


def test_an_own_password_takes_the_old_one_and_ends_the_other_sessions(settings: Settings) -> None:
    new = "four grey herons on a wall"

    async def play(site: Site) -> None:
        phone, laptop = await site.enter(), await site.enter()
        for status, old, first, second in (
            (403, "wrong", new, new),
            (422, PASSWORD, new, "another one altogether"),
            (422, PASSWORD, "short", "short"),
            (422, PASSWORD, "jeanne-jeanne-jeanne", "jeanne-jeanne-jeanne"),
        ):
            refused = await laptop.post("/account/password", {"old": old, "new": first, "again": second})
            assert (refused.status_code, 'id="wrong"' in refused.text) == (status, True)
        changed = await laptop.post("/account/password", {"old": PASSWORD, "new": new, "again": new})
        assert changed.status_code == 303
        token = re.search(rf"{COOKIE}=([^;]+)", str(changed.headers.get_list("set-cookie")))
        assert token
        assert await site.app.state.access.sessions.find(token[1]) is not None
        await _until_out(phone, 4 * FRESH)
        assert (await log_in(site.stranger())).status_code == 403
        assert (await log_in(site.stranger(), password=new)).status_code == 303
        told = await sql(site, "SELECT operator, act, detail FROM operations ORDER BY id DESC LIMIT 1")
        assert [tuple(row) for row in told] == [("jeanne", "account password", {"account": "jeanne"})]

    played(settings, play)


def test_language_and_colours_are_chosen_also_before_a_login(settings: Settings) -> None:
    async def play(site: Site) -> None:
        client = site.stranger()
        form = await client.get("/login")
        csrf = re.search(r'name="csrf" value="([^"]+)"', form.text)
        assert csrf
        chosen = {"csrf": csrf[1], "language": "fr", "theme": "dark", "back": "/search?q=1"}
        done = await client.post("/display", data=chosen)
        assert done.headers["location"] == "/login?next=/search%3Fq%3D1"
        page = (await client.get("/login")).text
        assert ('lang="fr"' in page, 'data-theme="dark"' in page, "Mot de passe" in page) == (True, True, True)
        await client.post("/display", data={"csrf": csrf[1], "language": "<x>", "theme": "neon"})
        page = (await client.get("/login")).text
        assert ('<html lang="en"' in page, 'data-theme="auto"' in page) == (True, True)

    played(settings, play)


def test_script_in_what_is_typed_is_shown_as_text(settings: Settings) -> None:
    script = '"><script>alert(1)</script>'

    async def play(site: Site) -> None:
        refused = await log_in(site.stranger(), script, wanted="/" + script)
        assert refused.status_code == 403
        assert "<script>alert" not in refused.text
        assert "&lt;script&gt;alert" in refused.text
        shown = await site.stranger().get("/login", params={"next": "/" + script})
        assert "<script>alert" not in shown.text
        evil = await site.enter("<script>alert(2)</script>")
        assert "<script>alert" not in (await evil.get("/account")).text

    played(settings, play)


@pytest.mark.usefixtures("full_cost")
def test_a_kept_hash_is_renewed_when_its_parameters_are_old(settings: Settings) -> None:
    async def play(site: Site) -> None:
        old = PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD)
        await accounts.set_password(site.owner, "jeanne", old)
        assert (await log_in(site.stranger())).status_code == 303
        [[kept]] = await sql(site, "SELECT password FROM accounts WHERE name = 'jeanne'")
        assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        [[operator, tx]] = await sql(site, "SELECT operator, tx FROM operations WHERE act = 'account rehash'")
        [[changed]] = await sql(site, "SELECT tx FROM changes ORDER BY id DESC LIMIT 1")
        assert (operator, changed) == ("jeanne", tx), "it is recorded, or the audit would take it for nobody's act"

    played(settings, play)


def test_a_password_changed_during_a_login_lets_nobody_in(settings: Settings) -> None:
    async def play(site: Site) -> None:
        sessions: Sessions = site.app.state.access.sessions
        await accounts.set_password(site.owner, "jeanne", "another hash")
        with pytest.raises(Exception, match="changed just now"):
            await sessions.begin("jeanne", password=HASH)

    played(settings, play)
