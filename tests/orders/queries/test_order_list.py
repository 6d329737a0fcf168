"""Orders listed for people: every filter on its own and together, page after page, within bounds, and as files."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from orders.queries import order_list
from orders.queries.order_files import csv_head, csv_lines, ndjson_lines
from orders.queries.order_filter import OrderFilter
from orders.queries.order_list import COLUMNS, every, listed
from orders.queries.products import Filling
from orders.states import Reason, State
from tests.bench import MEDICINE, Bench, OnBench

OTHER = "3400938617061"
LONG_AGO = datetime.now(UTC) - timedelta(days=1)
FORCE = "SET session_replication_role = replica"  # states by hand, whatever way leads to them


@pytest.fixture
def process() -> str:
    """Who lists orders so."""
    return "console"


async def varied(bench: Bench) -> list[UUID]:
    """Orders of every state, of two pharmacies, clients, priorities, products and backends; the newest first."""
    ids: list[UUID] = []
    for number, (priority, code) in enumerate(product(("normal", "urgent"), (MEDICINE, OTHER))):
        lines = [{"product": code, "quantity": 1}]
        more = {"pharmacy": f"P{number % 2}", "priority": priority, "lines": lines}
        ids += await bench.accept(2 * len(State), client=f"c{number // 2}", **more)
    async with bench.owner.connect() as connection:
        await connection.exec_driver_sql(FORCE)
        for number, order_id in enumerate(ids):
            state = [*State][number % len(State)]
            reason = [*Reason][number // len(State) % len(Reason)] if state in (State.DEAD, State.DISCARDED) else None
            await connection.exec_driver_sql(
                "UPDATE deliveries SET state = $1, reason = $2, backend = $3 WHERE order_id = $4",
                (state.value, reason, ("erp", "fallback")[number % 3 == 0], order_id),
            )
        await connection.exec_driver_sql("RESET session_replication_role")
    return sorted(ids, reverse=True)


async def whole(bench: Bench, wanted: OrderFilter, limit: int = 20) -> list[dict[str, Any]]:
    """All pages of a list."""
    rows, after = [], None
    while True:
        page = await listed(bench.engine, wanted, after=after, limit=limit)
        assert len(page.rows) <= limit
        rows += page.rows
        if (after := page.after) is None:
            return rows


WANTED = [
    {},
    *({"state": state} for state in State),
    *({"reason": reason} for reason in Reason),
    {"state": State.DISCARDED, "reason": Reason.INVALID},
    {"pharmacy": "P1"},
    {"pharmacy": "nobody"},
    {"backend": "fallback"},
    {"client": "c1"},
    {"priority": "urgent"},
    {"product": OTHER},
    {"product": OTHER, "state": State.DELIVERED, "priority": "urgent"},
    {"pharmacy": "P0", "state": State.DEAD, "client": "c0", "backend": "erp"},
    {"since": LONG_AGO, "client": "c0"},
    {"until": LONG_AGO},
    {"state": State.ACCEPTED, "priority": "normal", "backend": "erp", "product": MEDICINE},
]


@pytest.mark.parametrize("most", [2_000, 30])
def test_a_list_has_what_the_filter_says_and_each_once(
    on_bench: OnBench, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(order_list, "LOOKED", most)

    async def work(bench: Bench) -> None:
        ids = await varied(bench)
        rows = await whole(bench, OrderFilter())
        assert ([row["id"] for row in rows], {*rows[0]}) == (ids, {*COLUMNS})
        bodies = {row.id: row.body for row in await bench.run(text("SELECT id, body FROM orders"))}
        filled = Filling()
        for _ in range(2):  # without the index of products, and with it
            for fields in WANTED:
                wanted = {name: value for name, value in fields.items() if name in COLUMNS}
                if "reason" in fields:
                    wanted.setdefault("state", State.DEAD)
                fit = [
                    row["id"]
                    for row in rows
                    if all(row[name] == value for name, value in wanted.items())
                    and ("product" not in fields or str(fields["product"]).encode() in bodies[row["id"]])
                    and "until" not in fields
                ]
                assert [row["id"] for row in await whole(bench, OrderFilter(**fields))] == fit, fields
            while (step := await filled.step(bench.worker)) is not None and step.more:
                pass

    on_bench(work)


def test_a_page_looks_at_so_many_orders_and_says_that_it_looks_on(
    on_bench: OnBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_list, "LOOKED", 10)

    async def work(bench: Bench) -> None:
        [first] = await bench.accept(1, client="rare")
        await bench.accept(25)
        wanted = OrderFilter(client="rare")
        one = await listed(bench.engine, wanted, limit=4)
        two = await listed(bench.engine, wanted, after=one.after, limit=4)
        three = await listed(bench.engine, wanted, after=two.after, limit=4)
        assert [(len(page.rows), page.short) for page in (one, two)] == [(0, True), (0, True)]
        assert ([row["id"] for row in three.rows], three.after, three.short) == ([first], None, False)
        assert [row["id"] async for rows in every(bench.engine, wanted) for row in rows] == [first]

    on_bench(work)


def test_a_file_is_safe_for_spreadsheets_and_whole() -> None:
    row = {**dict.fromkeys(COLUMNS), "id": UUID(int=7), "attempts": 3, "received_at": LONG_AGO, "pharmacy": "P1"}
    for sign in "=+-@\t\r":
        written = csv_head() + csv_lines([{**row, "reference": f'{sign}cmd|"A1", x'}])
        [told] = csv.DictReader(io.StringIO(written, newline=""))
        assert told["reference"] == f'\'{sign}cmd|"A1", x'
        assert (told["attempts"], told["state"], told["pharmacy"]) == ("3", "", "P1")
    plain = json.loads(ndjson_lines([{**row, "reference": "=1"}]))
    assert (list(plain), plain["reference"], plain["attempts"], plain["settled_at"]) == ([*COLUMNS], "=1", 3, None)
    assert plain["received_at"] == LONG_AGO.isoformat().replace("+00:00", "Z")
