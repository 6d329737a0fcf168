"""What is live: one reading for all who watch, streams that end, stores that are out."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvicorn

from config.embedded.ports import choose
from config.settings import Settings
from tests.machines.roles import logged_in_to
from tests.waiting import auntil
from tests.workers.console.site import Site, text_of
from workers.console.access.sessions import COOKIE
from workers.console.app import create_app
from workers.console.live import poller, stream
from workers.console.overview import fragments


@asynccontextmanager
async def online(settings: Settings) -> AsyncIterator[tuple[Site, str]]:
    """The console behind a real server."""
    app = create_app(settings)
    listening = socket.create_server(("127.0.0.1", 0), backlog=200)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=3))
    serving = asyncio.create_task(server.serve([listening]))
    await auntil(lambda: server.started)
    try:
        async with logged_in_to(settings.need("database_url")) as logins:
            yield Site(app, logins), f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        await app.state.end_streams()
        server.should_exit = True
        await serving


async def cookie(site: Site, name: str) -> dict[str, str]:
    browser = await site.enter(name)
    return {"Cookie": f"{COOKIE}={browser.client.cookies[COOKIE]}", "Accept-Language": "en"}


@pytest.mark.parametrize("each", [6, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(60)])])
def test_many_listeners_cost_one_reading_a_beat(settings: Settings, monkeypatch: pytest.MonkeyPatch, each: int) -> None:
    monkeypatch.setattr(poller, "BEAT", 0.1)
    monkeypatch.setattr(poller, "SHARE", 0)
    monkeypatch.setattr(stream, "MOST_OF_SESSION", each)
    looks = 0
    glance = poller.glance

    async def counted(*given: object) -> object:
        nonlocal looks
        looks += 1
        return await glance(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(poller, "glance", counted)

    async def work() -> None:
        async with (
            online(settings) as (site, url),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
            contextlib.AsyncExitStack() as stack,
        ):
            for name in ("a", "b"):
                headers = await cookie(site, name)
                streams = [
                    await stack.enter_async_context(session.get(f"{url}/live/overview", headers=headers))
                    for _ in range(each)
                ]
                async with session.get(f"{url}/live/overview", headers=headers) as more:
                    assert more.status == 429, "a session has no more than its share"
                for one in streams:
                    assert b"hx-partial" in await one.content.readuntil(b"\n\n")
            overview = site.app.state.overview
            before, beat = looks, overview.poller.seen.beat
            await auntil(lambda: overview.poller.seen.beat >= beat + 5)
            assert looks - before <= overview.poller.seen.beat - beat + 1
            await site.app.state.end_streams()
            async with asyncio.timeout(5):
                await asyncio.gather(*(one.content.read() for one in streams))

    asyncio.run(work())


def test_a_stream_ends_with_its_session(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "BEAT", 0.1)
    monkeypatch.setattr(stream, "RECHECK", 0.1)

    async def work() -> None:
        async with online(settings) as (site, url), aiohttp.ClientSession() as session:
            headers = await cookie(site, "jeanne")
            async with session.get(f"{url}/live/overview", headers=headers) as told:
                await told.content.readuntil(b"\n\n")
                await site.app.state.access.sessions.end(headers["Cookie"].partition("=")[2])
                async with asyncio.timeout(8):
                    assert b"Your session has ended" in await told.content.read()

    asyncio.run(work())


def test_beyond_its_streams_a_process_says_so_and_who_leaves_makes_room(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_STREAMS", 2)

    async def work() -> None:
        async with online(settings) as (site, url), aiohttp.ClientSession() as session:
            headers, overview = await cookie(site, "jeanne"), site.app.state.overview
            address = f"{url}/live/overview"
            async with session.get(address, headers=headers) as one:
                two = await session.get(address, headers=headers)
                assert (one.status, two.status) == (200, 200)
                async with session.get(address, headers=headers) as more:
                    assert (more.status, more.headers["Retry-After"]) == (503, "10")
                two.close()
                await auntil(lambda: overview.streams._open.total() == 1)
                assert overview.poller._watching == 1
                async with session.get(address, headers=headers) as third:
                    assert third.status == 200
            await auntil(lambda: not overview.streams._open)
            assert overview.poller._watching == 0

    asyncio.run(work())


def test_a_listener_that_does_not_read_is_let_go(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "BEAT", 0.02)
    monkeypatch.setattr(poller, "SHARE", 0)
    monkeypatch.setattr(stream, "SLOW", 0.5)
    told = 0

    def much(self: object, language: str, role: object, seen: int) -> bytes:
        nonlocal told
        told += 1
        return b":" + b"x" * 2**20 + b"\n\n"

    monkeypatch.setattr(fragments.Board, "news", much)

    async def work() -> None:
        async with online(settings) as (site, url):
            headers, overview = await cookie(site, "jeanne"), site.app.state.overview
            host, port = url.removeprefix("http://").split(":")
            request = "".join(f"{name}: {value}\r\n" for name, value in {"Host": host, **headers}.items())
            with socket.create_connection((host, int(port))) as deaf:
                deaf.sendall(f"GET /live/overview HTTP/1.1\r\n{request}\r\n".encode())
                await auntil(lambda: overview.streams._open.total() == 1)
                beat = overview.poller.seen.beat
                await auntil(lambda: not overview.streams._open)
                assert told < 12, "what it did not take in was never made, but for what the sockets hold"
                await auntil(lambda: overview.poller.seen.beat > beat, what="the beat goes on")

    asyncio.run(work())


def test_a_store_that_is_out_is_told_on_every_page(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "BEAT", 0.1)
    nowhere = settings.replace(redis_url=f"redis://127.0.0.1:{choose()}/0")

    async def work() -> None:
        async with online(nowhere) as (site, _):
            jeanne = await site.enter()

            async def said() -> bool:
                return "Redis is out since" in text_of(await jeanne.get("/live/stores"))

            await auntil(said)
            assert "Redis is out since" in text_of(await jeanne.get("/nothing")), "every page says so"

    asyncio.run(work())
