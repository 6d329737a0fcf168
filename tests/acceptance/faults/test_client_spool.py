"""The front end's spool under fire: the intake is away, the client is killed, and every order is delivered once."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.embedded.leash import Leash
from config.embedded.ports import choose
from orders.client.answers import Kept
from orders.client.client import OrderClient
from orders.journal import connect
from tests.acceptance.running import QUICK, Relais, up
from tests.cli import clean_environment, command, running
from tests.waiting import auntil

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240)]
COUNT = 5000


@pytest.fixture(scope="module")
def relais(leash: Leash) -> Iterator[Relais]:
    with up(leash) as whole:
        yield whole


class Front:
    """A front end's machine: it knows the port of an intake, and has a spool of its own."""

    def __init__(self, relais: Relais, directory: Path) -> None:
        self.port = choose()
        self.env = {
            "RELAIS_API_URL": f"http://127.0.0.1:{self.port}",
            "RELAIS_API_KEY": relais.key,
            "RELAIS_DATA_DIR": str(directory),
            "RELAIS_SPOOL": str(directory / "spool.db"),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(command(*arguments), env=clean_environment(self.env), stdout=subprocess.PIPE, text=True)

    def ask(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        process = self.start(*arguments, "--json")
        out, _ = process.communicate(timeout=120)
        return process.returncode, json.loads(out)


async def accepted(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM orders"))).scalar_one())


async def ids(engine: AsyncEngine) -> list[UUID]:
    async with engine.connect() as connection:
        return [*(await connection.execute(text("SELECT id FROM orders"))).scalars()]


def kill_while_it_flushes(relais: Relais, front: Front) -> int:
    """Kill a flush when some more orders have arrived; returns how many had by then."""

    async def watch() -> None:
        engine = connect(relais.endpoints["owner_url"])
        try:
            before = await accepted(engine)
            flush = front.start("spool", "flush")

            async def some() -> bool:
                return await accepted(engine) > before + 600

            await auntil(some, 60, 0.005, "some orders arrived")
            os.kill(flush.pid, signal.SIGKILL)
            flush.communicate(timeout=10)
            assert flush.returncode == -signal.SIGKILL, "it was still at work"
        finally:
            await engine.dispose()

    asyncio.run(watch())
    return relais.journal(accepted)


@pytest.mark.slow
def test_5000_orders_outlive_an_intake_that_is_away_and_three_kills_of_the_client(
    relais: Relais, leash: Leash, tmp_path: Path
) -> None:
    front, file = Front(relais, tmp_path), tmp_path / "orders.ndjson"
    file.write_text("\n".join(json.dumps(order) for order in relais.orders(COUNT)))
    code, report = front.ask("submit", str(file), "--patience", "0")
    assert (code, report["spooled"], report["accepted"]) == (0, COUNT, 0)
    assert relais.journal(accepted) == 0

    api = command("--data-dir", str(relais.data_dir), "api", "--port", str(front.port))
    with running(leash, "second api", api, QUICK):
        for _ in range(3):
            arrived = kill_while_it_flushes(relais, front)
            waiting = front.ask("spool", "status")[1]["waiting"]
            assert 0 < arrived < COUNT
            assert COUNT - arrived <= waiting < COUNT, "what has not arrived waits, and some that have"
        code, report = front.ask("spool", "flush", "--patience", "60")
        assert (code, report["waiting"], report["refused"]) == (0, 0, 0)
    found = relais.journal(ids)
    assert len(found) == COUNT
    relais.delivered_once(found, timeout=120)
    assert sum(relais.effects().values()) == COUNT


def test_a_front_end_notices_no_sigkill_of_the_intake(relais: Relais, tmp_path: Path) -> None:
    before = relais.journal(accepted)
    made = relais.orders(600)

    async def hand_over() -> list[Kept]:
        url, key = relais.endpoints["api_url"], relais.key
        async with OrderClient(url, key, tmp_path / "spool.db", longest_pause=0.5) as client:
            handing = asyncio.gather(*(client.submit(order) for order in made))
            await auntil(lambda: asyncio.to_thread(lambda: relais.journal(accepted) > before + 50), 60)
            relais.kill("api")
            kept = await handing
            assert (await client.flush(60)).waiting == 0
            return kept

    kept = asyncio.run(hand_over())
    assert {each.where for each in kept} == {"journal", "spool"}
    assert relais.journal(accepted) == before + 600
    relais.delivered_once(relais.journal(ids), timeout=120)
