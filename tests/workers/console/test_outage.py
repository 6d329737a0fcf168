"""The console while a store is out: every page answers, says since when, shows what was known last, and recovers."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import text

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.postgres import Postgres
from config.embedded.valkey import Valkey
from config.settings import Settings
from tests.machines.servers import frozen, seed
from tests.waiting import auntil
from tests.workers.console.site import Browser, Site, serving, text_of
from workers.console import journal_timeout
from workers.console.access import sessions
from workers.console.access.sessions import COOKIE
from workers.console.i18n import languages
from workers.console.live import poller, series
from workers.console.recovery import cached

SOON = 3.5  # seconds, on a busy machine
FILLED = {"kind": "pause", "act": "0199a3c2-7c11-7000-8000-000000000001", "name": "erp", "backend": "erp"}


@pytest.fixture(autouse=True)
def patient() -> None:
    """Here the console has its own times, or what a test sets."""


@contextmanager
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No waiting for beats."""
    with monkeypatch.context() as patch:
        for module, name, seconds in (
            (poller, "BEAT", 0.1),
            (poller, "SURVEY", 0.1),
            (poller, "SHARE", 0),
            (series, "FRESH", 0.1),
            (sessions, "FRESH", 0.1),
            (sessions, "FIND_TIMEOUT", 0.4),
            (series, "SERIES_TIMEOUT", 0.4),
            (poller, "WAIT", 0.4),
            (poller, "SILENT", 0.3),
            (journal_timeout, "PAGE_TIMEOUT", 0.4),
            (cached, "READ_TIMEOUT", 0.5),
        ):
            patch.setattr(module, name, seconds)
        yield


def pages_of(site: Site) -> list[str]:
    """Every page that is looked at, whatever it names."""
    paths = [path for path, told in site.app.openapi()["paths"].items() if "get" in told]
    assert len(paths) > 20
    filled = (re.sub(r"\{(\w+)[^}]*\}", lambda named: FILLED.get(named[1], FILLED["act"]), path) for path in paths)
    return sorted({path for path in filled if path != "/live/overview" and "oidc" not in path})


async def timed(browser: Browser, path: str) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = await browser.get(path)
    return answer, time.monotonic() - began


async def all_at_once(site: Site, browser: Browser) -> dict[str, tuple[httpx.Response, float]]:
    paths = pages_of(site)
    answers = await asyncio.gather(*(timed(browser, path) for path in paths))
    return dict(zip(paths, answers, strict=True))


async def all_in_time(site: Site, browser: Browser, usual: float = 0.0) -> None:
    """Within SOON; longer by what this machine takes for them when nothing is amiss."""
    answers = await all_at_once(site, browser)
    assert {path: took for path, (_, took) in answers.items() if took > SOON + usual} == {}
    assert {path: answer.status_code for path, (answer, _) in answers.items() if answer.status_code == 500} == {}


async def says(browser: Browser, said: str, path: str = "/", timeout: float = 10) -> str:
    found = ""

    async def shown() -> bool:
        nonlocal found
        answer, took = await timed(browser, path)
        assert took < SOON, f"{path} took {took:.1f} s"
        found = text_of(answer)
        return said in found

    await auntil(shown, timeout, what=said)
    return found


async def fill(site: Site) -> None:
    statements = (
        "INSERT INTO backends (name, \"window\") VALUES ('erp', 10)",
        "INSERT INTO deliveries (order_id, state, backend, priority, cut_off) SELECT gen_random_uuid(), 'accepted', "
        "'erp', 1, 'infinity' FROM generate_series(1, 321)",
    )
    async with site.owner.connect() as connection:
        for each in statements:
            await connection.execute(text(each))


def test_while_postgresql_is_frozen_every_page_answers_and_recovers(
    settings: Settings, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            await fill(site)
            jeanne = await site.enter()
            with quick(monkeypatch):
                await says(jeanne, "Backlog 321")
                usual = max(took for _, took in (await all_at_once(site, jeanne)).values())
                with frozen(postgres.pid):
                    await all_in_time(site, jeanne, usual)
                    shown = await says(jeanne, "PostgreSQL has not answered since")
                    assert "Backlog 321" in shown, "the last that was known"
                    assert "(the last that are known)" in shown
                    assert "Figures are those of" in await says(jeanne, "PostgreSQL has not answered since", "/dead")
                    refused = await jeanne.post("/acts/pause", {"backend": "erp"})
                    assert (refused.status_code, "Nothing was done" in refused.text) == (503, True)
                await says(jeanne, "Nobody works")
                assert (await jeanne.get("/search")).status_code == 200

    asyncio.run(work())


def test_every_time_is_told_alike_with_its_zone() -> None:
    words, now = languages("Europe/Paris"), datetime.now(ZoneInfo("Europe/Paris"))
    summer = now.replace(month=7, day=14, hour=9, minute=5, second=7)
    assert words["en"].moment(summer.astimezone(UTC)) == "14 Jul 09:05:07 CEST"
    assert words["fr"].moment(summer) == "14 juil. 09:05:07 CEST"
    winter = now.replace(year=2025, month=1, day=2, hour=0, minute=0, second=0)
    assert words["fr"].moment(winter) == "2 janv. 2025 00:00:00 CET"


def again(site: Site, jeanne: Browser) -> Browser:
    """The same browser at a console that was started anew."""
    client = site.stranger()
    client.cookies.set(COOKIE, jeanne.client.cookies[COOKIE])
    return Browser(client, jeanne.csrf)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_killed_postgresql_and_a_console_that_starts_meanwhile(
    settings: Settings, leash: Leash, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(data_dir)
    server = Postgres(data_dir, choose())
    server.start(leash)
    own = settings.replace(database_url=server.url)

    async def work() -> None:
        async with serving(own) as site:
            await fill(site)
            jeanne = await site.enter()
            await says(jeanne, "Backlog 321")
            server.kill()
            shown = await says(jeanne, "PostgreSQL is out since")
            assert "Backlog 321" in shown
            await all_in_time(site, jeanne)
            async with serving(own) as new:
                known = again(new, jeanne)
                assert (await known.get("/")).status_code == 503
                shown = await says(known, "PostgreSQL is out since")
                assert "Nothing is known yet." in shown
                assert "Orders are still taken in" not in shown, "no intake answers here"
                assert (await new.stranger().get("/")).status_code == 303, "a stranger is told nothing"
                await asyncio.to_thread(server.start, leash)
                await says(known, "Backlog 321", timeout=40)
            await says(jeanne, "Nobody works", timeout=40)
            assert "is out since" not in await says(jeanne, "Backlog 321")

    try:
        asyncio.run(work())
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_frozen_stores_at_the_pace_of_a_real_console(settings: Settings, postgres: Postgres, valkey: Valkey) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            await fill(site)
            jeanne = await site.enter()
            await says(jeanne, "Backlog 321")
            with frozen(postgres.pid):
                await all_in_time(site, jeanne)
                await says(jeanne, "PostgreSQL has not answered since")
                async with serving(settings) as new:
                    known = again(new, jeanne)
                    assert "Nothing is known yet." in await says(known, "PostgreSQL has not answered since")
            assert "has not answered since" not in await says(jeanne, "Nobody works", timeout=20)
            with frozen(valkey.pid):
                await all_in_time(site, jeanne)
                shown = await says(jeanne, "Redis has not answered since")
                assert "PostgreSQL has not" not in shown
                before = site.app.state.overview.poller.seen
                await auntil(lambda: site.app.state.overview.poller.seen.beat >= before.beat + 3)
                assert site.app.state.overview.poller.seen.journal.at > before.journal.at, "the other goes on"
            await says(jeanne, "Nobody works")

            async def back() -> bool:
                return "has not answered since" not in text_of(await jeanne.get("/"))

            await auntil(back, 15)

    asyncio.run(work())
