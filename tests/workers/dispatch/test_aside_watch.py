"""What connectors have set aside: counted whether or not orders go on, and never told to be none by who cannot look."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from config.settings import Settings
from orders.journal import connect
from tests.bench import Scripted, always
from tests.journal import Journal
from tests.machines.roles import login
from tests.waiting import until
from tests.workers.erp.files.conftest import EDIFACT
from workers.backend_transitions import REGISTER
from workers.dispatch import aside_watch
from workers.dispatch.aside_watch import AsideWatch
from workers.erp.connectors import open_erp
from workers.erp.port import Kind

SEEN = "SELECT name, set_aside, set_aside_at FROM backends ORDER BY name"
NAMES = ("files", "plain")


class Exchange:
    """A directory that answers are set aside in, and what the journal knows of it."""

    def __init__(self, directory: Path, settings: Settings, journal: Journal) -> None:
        self.base, self._journal = directory / "exchange", journal
        for name in ("orders", "answers", "relais/aside"):
            (self.base / name).mkdir(parents=True)
        (directory / "files.toml").write_text(EDIFACT)
        own = {"erp_url": f"file://{self.base}", "erp_kind": "files", "erp_connector": directory / "files.toml"}
        self.url = login(settings.need("database_url"), "worker")
        self.settings = settings.replace(database_url=self.url, **own)
        for name in NAMES:
            journal.sql(str(REGISTER), backend=name, window=50)

    def lay(self, name: str) -> Path:
        """A file is set aside, its reason first."""
        file = self.base / "relais" / "aside" / name
        file.with_name(f"{name}.reason.txt").write_text("no answer\n")
        file.write_text("garbage")
        return file

    def watch(self) -> AsideWatch:
        return AsideWatch(self.settings, {"files": open_erp(self.settings), "plain": Scripted(always(Kind.ACCEPTED))})

    def seen(self) -> dict[str, Any]:
        return {row.name: row.set_aside for row in self._journal.sql(SEEN)}

    def at(self) -> Any:
        return next(row.set_aside_at for row in self._journal.sql(SEEN) if row.name == "files")

    def look(self) -> None:
        """As a worker does, once."""

        async def look() -> None:
            engine, watch = connect(self.url), self.watch()
            async with engine.connect() as connection:
                await aside_watch.forget_set_aside(connection, watch._others)
                await watch._look(connection)
            await engine.dispose()

        asyncio.run(look())

    def age(self) -> None:
        """It was a while ago."""
        self._journal.sql("UPDATE backends SET set_aside_at = set_aside_at - interval '1 min'")


@pytest.fixture
def exchange(tmp_path: Path, settings: Settings, journal: Journal) -> Exchange:
    return Exchange(tmp_path, settings, journal)


@pytest.fixture
def watching(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], AsideWatch]]:
    """Starts one that looks without end."""
    monkeypatch.setattr(aside_watch, "LOOK_EVERY", 0.05)
    begun: list[AsideWatch] = []

    def start() -> AsideWatch:
        begun.append(exchange.watch())
        begun[-1].start()
        return begun[-1]

    yield start
    for each in begun:
        each.stop()


def test_files_are_counted_until_a_person_has_taken_them_away(
    exchange: Exchange, watching: Callable[[], AsideWatch]
) -> None:
    assert exchange.seen() == {"files": None, "plain": None}, "nobody has looked"
    watching()
    until(lambda: exchange.seen()["files"] == 0, 10, what="it has looked")
    first, second = exchange.lay("a.edi"), exchange.lay("b.edi")
    until(lambda: exchange.seen()["files"] == 2, 10, what="both are counted, without their reasons")
    first.unlink()
    until(lambda: exchange.seen()["files"] == 1, 10, what="one is deleted, its reason left behind")
    second.rename(exchange.base / "relais" / "seen.edi")
    until(lambda: exchange.seen()["files"] == 0, 10, what="one is moved")
    assert exchange.seen()["plain"] is None, "what has no such place is never told of"


def test_who_cannot_look_says_nothing_and_what_was_seen_stays(exchange: Exchange) -> None:
    exchange.lay("a.edi")
    exchange.look()
    exchange.age()
    seen = exchange.at()
    exchange.base.rename(exchange.base.with_name("away"))
    exchange.look()
    assert (exchange.seen()["files"], exchange.at()) == (1, seen)
    exchange.base.with_name("away").rename(exchange.base)
    exchange.look()
    assert (exchange.seen()["files"], exchange.at() > seen) == (1, True)
    seen = exchange.at()
    exchange.look()
    assert exchange.at() == seen, "another worker has looked a moment ago"


def test_a_directory_that_is_not_there_is_not_none(exchange: Exchange, settings: Settings) -> None:
    async def count() -> int | None:
        erp = open_erp(exchange.settings)
        assert isinstance(erp, aside_watch.SetsAside)
        try:
            return await erp.set_aside(budget=5)
        finally:
            await erp.close()

    aside = exchange.base / "relais" / "aside"
    aside.rmdir()
    assert asyncio.run(count()) == 0, "nothing was ever set aside"
    (exchange.base / "relais").rmdir()
    assert asyncio.run(count()) is None, "it may not be mounted"


def test_one_in_quarantine_is_not_asked_and_one_of_another_connector_is_forgotten(
    exchange: Exchange, journal: Journal
) -> None:
    journal.sql("UPDATE backends SET set_aside = 3, set_aside_at = now() - interval '1 h'")
    journal.sql("UPDATE backends SET quarantined = true WHERE name = 'files'")
    exchange.look()
    assert exchange.seen() == {"files": 3, "plain": None}
    journal.sql("UPDATE backends SET quarantined = false")
    exchange.look()
    assert exchange.seen()["files"] == 0


def test_of_two_workers_one_looks(exchange: Exchange) -> None:
    async def look() -> None:
        engine = connect(exchange.url)
        async with engine.connect() as one, engine.connect() as other:
            await one.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": aside_watch.WATCH_LOCK})
            await exchange.watch()._look(other)
        await engine.dispose()

    asyncio.run(look())
    assert exchange.seen()["files"] is None
    exchange.look()
    assert exchange.seen()["files"] == 0
