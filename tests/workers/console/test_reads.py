"""No page of the console reads more rows than it shows, and a few: asked of PostgreSQL, statement by statement.

A list whose filter fits few orders looks at a bounded number of them, however many there are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import multitude
from benchmarks.console import LARGEST, LONG, PAGES, further
from benchmarks.console import found as fill_products
from config.settings import Settings
from orders.journal import connect, snapshot
from orders.queries import order_list
from tests.machines.roles import above
from tests.workers.console.site import serving
from workers.console.access.people import Role

ORDERS, DEAD = 4_000, 0.25
SHOWN = 50  # rows of a list at most
BESIDE = 150  # rows that a page may read beside: backends, groups, what is joined to each row that is shown
LOOKED = 300  # orders that a list looks at here, where its filter fits few of them
SPARSE = ("/orders?client=nobody", "/orders?state=dead&priority=urgent", "/orders?product={product}&backend=other")
SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Function Scan", "CTE Scan", "Tid Scan")


class Asked(NamedTuple):
    """A statement as it went to the database."""

    statement: str
    parameters: Any


@contextmanager
def listening(engine: AsyncEngine) -> Iterator[list[Asked]]:
    """What is asked of the journal within."""
    asked: list[Asked] = []

    def hear(_: Any, __: Any, statement: str, parameters: Any, ___: Any, many: bool) -> None:
        if not many and statement.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE", "INSERT", "DELETE")):
            asked.append(Asked(statement, parameters))

    event.listen(engine.sync_engine, "before_cursor_execute", hear)
    try:
        yield asked
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", hear)


def rows_read(plan: dict[str, Any]) -> int:
    """Rows that the scans of a plan went through, kept or not."""
    loops = plan.get("Actual Loops", 1)
    gone = sum(plan.get(name, 0) for name in ("Rows Removed by Filter", "Rows Removed by Index Recheck"))
    own = (plan["Actual Rows"] + gone) * loops if plan["Node Type"] in SCANS else 0
    return round(own) + sum(rows_read(each) for each in plan.get("Plans", ()))


async def explained(engine: AsyncEngine, asked: Asked) -> int:
    """Rows that the statement reads, by PostgreSQL's own count; nothing is changed by it."""
    async with engine.execution_options(isolation_level="READ COMMITTED").connect() as connection:
        found = await connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {asked.statement}", asked.parameters
        )
        plan = found.scalar_one()
        await connection.rollback()
    return rows_read((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])


@pytest.fixture
def things(settings: Settings) -> dict[str, Any]:
    """A journal of some thousand orders, and one of each to look at.

    No page of a table is marked as visible to all yet: a scan along an index is dearest then to a planner.
    """

    async def fill() -> dict[str, Any]:
        engine = connect(above(settings.need("database_url")))
        try:
            async with snapshot(engine) as unvacuumed:
                await unvacuumed.execute(text("SELECT FROM orders"))
                found = await multitude.fill(above(settings.need("database_url")), ORDERS, DEAD)
            await fill_products(engine)
            async with engine.connect() as connection:
                found["cause"] = (await connection.execute(LARGEST)).scalar_one()
        finally:
            await engine.dispose()
        return found

    return asyncio.run(fill())


def test_no_page_reads_more_rows_than_it_shows(
    settings: Settings, things: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_list, "LOOKED", LOOKED)

    async def look() -> dict[str, int]:
        engine, most = connect(above(settings.need("database_url"))), {}
        async with serving(settings) as site:
            karim = await site.enter("karim", Role.APPROVER)
            things["further"] = further((await karim.get(LONG)).text)
            for page in (*PAGES, *SPARSE):
                await karim.get(page.format(**things))  # what is read once a process is read by now
                with listening(site.app.state.console.engine) as asked:
                    answer = await karim.get(page.format(**things))
                assert answer.status_code == 200, (page, answer.text)
                most[page] = sum([await explained(engine, each) for each in asked])
        await engine.dispose()
        return most

    read = asyncio.run(look())
    bounds = dict.fromkeys(PAGES, SHOWN + BESIDE) | dict.fromkeys(SPARSE, 3 * LOOKED + BESIDE)
    assert {page: rows for page, rows in read.items() if rows > bounds[page]} == {}
