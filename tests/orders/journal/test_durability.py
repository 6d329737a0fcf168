"""What a server's settings weaken is said, of each, in both languages; nothing of a server that is as it should be."""

import asyncio
import shutil
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.embedded.postgres import Postgres, binary
from config.embedded.process import Program
from orders.journal import transactional
from orders.journal.durability import weaknesses
from orders.sentences import Sentence
from tests.journal import on_engine
from tests.machines.servers import SMALL, seed
from tests.waiting import auntil
from workers.console.i18n import languages
from workers.console.masking import say

MARKS = count(5)
NAMES = ("fsync=", "synchronous_commit=", "full_page_writes=")


class AsConfigured(Postgres):
    """Whose settings are those of its files: what stands on a command line, nothing that is read again changes."""

    def program(self) -> Program:
        program = super().program()
        pairs = zip(program.argv[5::2], program.argv[6::2], strict=True)
        kept = [word for pair in pairs if not pair[1].startswith(NAMES) for word in pair]
        return replace(program, argv=(*program.argv[:5], *kept))


@pytest.fixture(scope="module")
def server(leash: Leash) -> Iterator[Postgres]:
    data_dir = Path(tempfile.mkdtemp(prefix="relais-test-"))
    seed(data_dir)
    server = AsConfigured(data_dir, choose(), settings=SMALL)
    server.start(leash)
    yield server
    server.stop()
    shutil.rmtree(data_dir)


async def set_for_all(engine: AsyncEngine, mark: str, *settings: str) -> None:
    """Have the server read its settings again: these, and no others; `mark` is one that shows that it did."""
    async with engine.connect() as connection:
        for setting in ("RESET ALL", *(f"SET {each}" for each in settings), f"SET work_mem = '{mark}'"):
            await connection.execute(text(f"ALTER SYSTEM {setting}"))
        await connection.execute(text("SELECT pg_reload_conf()"))


async def shows(connection: AsyncConnection, mark: str) -> bool:
    return str((await connection.execute(text("SHOW work_mem"))).scalar_one()) == mark


async def weak(engine: AsyncEngine, *settings: str) -> list[Sentence]:
    """What is weak once the server has these settings."""
    mark = f"{next(MARKS)}MB"
    await set_for_all(engine, mark, *settings)
    async with engine.connect() as connection:
        await auntil(lambda: shows(connection, mark), what="it has read them")
    return await _now(engine)


def test_each_setting_that_weakens_the_journal_is_said(server: Postgres, tmp_path: Path) -> None:
    streams = [str(binary("pg_receivewal")), "--directory", str(tmp_path), "--dbname", server.url, "--no-loop"]

    async def work(engine: AsyncEngine) -> list[list[Sentence]]:
        found = [
            await weak(engine, "synchronous_standby_names = 'b'"),
            await weak(engine, "synchronous_standby_names = 'b'", "synchronous_commit = remote_write"),
            await weak(engine, "full_page_writes = off"),
            await weak(engine, "fsync = off", "synchronous_commit = off"),
            await weak(engine),
        ]
        standby = await asyncio.create_subprocess_exec(*streams, stdout=DEVNULL, stderr=DEVNULL)
        try:
            await auntil(lambda: _now(engine), what="it is seen")
            return [*found, await _now(engine)]
        finally:
            standby.terminate()
            await standby.wait()

    awaited, ahead, pages, worst_first, well, behind = on_engine(server.url, work)
    assert (awaited, well) == ([], [])
    assert ahead == [
        "synchronous_commit is remote_write, ahead of the standby's disk: a failover may lose the last orders"
    ]
    assert pages == ["full_page_writes is off: a power cut may damage the journal"]
    assert worst_first == [
        "fsync is off: a power cut may lose or damage anything in the journal, also what was answered 202",
        "synchronous_commit is off here: what Relais answers for waits for the disk all the same",
    ]
    assert behind == ["a standby is asynchronous: a failover may lose the last orders"]
    french, told = languages("UTC")["fr"], [*ahead, *pages, *worst_first, *behind]
    assert [each for each in told if str(say(each, french)) == str(each)] == []


def test_what_was_written_waits_for_the_disk_though_the_settings_are_read_again_before_the_commit(
    server: Postgres,
) -> None:
    """They are read between two statements of a transaction, and the commit is one of them."""
    mark = f"{next(MARKS)}MB"

    async def work(engine: AsyncEngine) -> str:
        async with transactional(engine).connect() as connection:
            await connection.execute(text("INSERT INTO operations (operator, act, detail) VALUES ('o', 'pause', '{}')"))
            await set_for_all(engine, mark, "synchronous_commit = off")
            await auntil(lambda: shows(connection, mark), what="this session has read them")
            return str((await connection.execute(text("SHOW synchronous_commit"))).scalar_one())

    assert on_engine(server.url, work) == "on"


async def _now(engine: AsyncEngine) -> list[Sentence]:
    async with engine.connect() as connection:
        return await weaknesses(connection)
