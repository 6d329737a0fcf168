"""The console while a store is out: every page answers, says since when, shows what was known last, and recovers."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import text

from config.embedded.postgres import Postgres
from config.settings import Settings
from tests.console import Browser, Site, serving, text_of
from tests.waiting import auntil
from workers.console.access import sessions
from workers.console.live import pulse, series

SOON = 3.5  # seconds, on a busy machine
FILLED = {"kind": "pause", "act": "0199a3c2-7c11-7000-8000-000000000001", "name": "erp", "backend": "erp"}


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A server all of whose processes hold their connections and answer nothing."""
    one = psutil.Process(pid)
    every = [one, *one.children(recursive=True)]
    for each in every:
        each.suspend()
    try:
        yield
    finally:
        for each in every:
            each.resume()


@contextmanager
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No waiting for beats."""
    with monkeypatch.context() as patch:
        for module, name, seconds in (
            (pulse, "BEAT", 0.1), (pulse, "SURVEY", 0.1), (pulse, "SHARE", 0), (series, "FRESH", 0.1),
            (sessions, "FRESH", 0.1),
        ):  # fmt: skip
            patch.setattr(module, name, seconds)
        yield


def pages_of(site: Site) -> list[str]:
    """Every page that is looked at, whatever it names."""
    paths = []
    for route in site.app.routes:
        found = [route] if isinstance(route, APIRoute) else getattr(route, "routes", [])
        paths += [each.path for each in found if isinstance(each, APIRoute) and "GET" in each.methods]
    assert len(paths) > 20
    filled = (re.sub(r"\{(\w+)[^}]*\}", lambda named: FILLED.get(named[1], FILLED["act"]), path) for path in paths)
    return sorted({path for path in filled if path != "/live/overview" and "oidc" not in path})


async def timed(browser: Browser, path: str) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = await browser.get(path)
    return answer, time.monotonic() - began


async def all_in_time(site: Site, browser: Browser) -> None:
    paths = pages_of(site)
    answers = await asyncio.gather(*(timed(browser, path) for path in paths))
    late = {path: took for path, (_, took) in zip(paths, answers, strict=True) if took > SOON}
    assert not late
    wrong = {
        path: each.status_code for path, (each, _) in zip(paths, answers, strict=True) if each.status_code == 500
    }
    assert not wrong


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
    async with site.app.state.desk.engine.connect() as connection:
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
                with frozen(postgres.pid):
                    await all_in_time(site, jeanne)
                    shown = await says(jeanne, "PostgreSQL is out since")
                    assert "Backlog 321" in shown, "the last that was known"
                    assert "(the last that are known)" in shown
                    assert "Figures are those of" in await says(jeanne, "PostgreSQL is out since", "/dead")
                    refused = await jeanne.post("/acts/pause", {"backend": "erp"})
                    assert (refused.status_code, "Nothing was done" in refused.text) == (503, True)
                await says(jeanne, "Nobody works: orders are taken in")
                assert (await jeanne.get("/search")).status_code == 200

    asyncio.run(work())


def test_the_first_sentence_says_where_orders_are_kept(settings: Settings) -> None:
    from datetime import UTC, datetime

    from workers.console.live.known import Known
    from workers.console.live.pulse import Seen
    from workers.console.overview.telling import told
    from workers.console.words import languages

    now = datetime.now(UTC)
    for mode, kept in (("spill", "orders are taken in and wait in Redis"), ("refusing", "Orders are refused")):
        seen = Seen(1, now, Known(None, None, now), Known(), Known(None, now), Known(mode, now))
        assert kept in told(seen, languages("UTC")["en"])[0].text
