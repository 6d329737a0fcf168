"""An act whose console dies or is told to stop, in a process of its own: the next console tells, and runs nothing."""

from __future__ import annotations

import html
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.embedded.ports import choose
from config.settings import Settings
from tests.cli import clean_environment, environment
from tests.machines.tools import ROOT
from tests.waiting import auntil
from tests.workers.console.site import ORIGIN, Site, serving, text_of
from workers.console.access.sessions import COOKIE
from workers.console.acts import runner, table

CONSOLE = """
import asyncio, sys
from config.settings import Settings
from workers.cli.http_server import serve_console
from workers.console.access.people import Role
from workers.console.acts.act import Act, Preview
from workers.console.registry import ACTS

async def preview(state, chosen, words):
    return Preview(None)

async def run(state, chosen, reason, running):
    await running.at(1, 2)
    await asyncio.Event().wait()

ACTS["endless"] = Act("endless", "Endless", "Begin", Role.OPERATOR, dict, preview, run, long=True)
serve_console(Settings(), "127.0.0.1", int(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_act_whose_console_ends_is_told_and_not_run_again(
    settings: Settings,
    run: Callable[[Coroutine[Any, Any, Any]], Any],
    how: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(table, "STALE", 2.0)
    monkeypatch.setattr(runner, "SWEEP", 0.5)
    port = choose()
    errors = tmp_path / "stderr"
    with errors.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", CONSOLE, str(port)],
            env=clean_environment(environment(settings)),
            stderr=log,
            cwd=ROOT,
        )
    try:
        run(_look(settings, process, port, how, errors))
    finally:
        process.kill()
        process.wait()


async def _look(
    settings: Settings, process: subprocess.Popen[bytes], port: int, how: signal.Signals, errors: Path
) -> None:
    async with serving(settings) as site:
        jeanne = await site.enter()
        cookie = f"{COOKIE}={jeanne.client.cookies.get(COOKIE)}"
        headers = {"Cookie": cookie, "Accept-Language": "en", "Host": ORIGIN.removeprefix("https://")}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as browser:

            async def serves() -> bool:
                try:
                    return (await browser.get("/healthz")).status_code == 200
                except httpx.TransportError:
                    assert process.poll() is None, said_by(errors)
                    return False

            await auntil(serves, timeout=30)
            shown = (await browser.get("/acts/endless")).text
            sent = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', shown))
            sent = {name: html.unescape(value) for name, value in sent.items()} | {"because": "a test"}
            where = (await browser.post("/acts/endless", data=sent)).headers["location"]
        await _until_state(site, where, "running")
        began = time.monotonic()
        process.send_signal(how)
        await auntil(lambda: process.poll() is not None, timeout=25)
        assert time.monotonic() - began < 20
        await _until_state(site, where, "interrupted")
        said = text_of(await jeanne.get(where))
        assert "It is not begun again by itself" in said
        assert ("nobody saw" in said) is (how is signal.SIGKILL)


def said_by(errors: Path) -> str:
    return errors.read_text()


async def _until_state(site: Site, where: str, state: str) -> None:
    async def reached() -> bool:
        row = await table.needed(site.app.state.console.engine, where.rpartition("/")[2])  # type: ignore[arg-type]
        return bool(row["state"] == state)

    await auntil(reached, timeout=15)
