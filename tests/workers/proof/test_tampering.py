"""Who may rewrite PostgreSQL as its superuser is found out: of whatever was tampered with, the block is named."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from orders.journal import connect, transactional
from orders.schema.tables.erps import mappings
from orders.schema.tables.proof import SEALED, seals
from tests.bench import Bench, with_bench
from tests.cli import CommandLine, environment
from tests.machines.roles import above
from tests.sealing import KEY, as_superuser, seal, some_life
from workers.proof.anchor_check import Anchored
from workers.proof.block_content import COLUMNS, KEYS, MADE
from workers.proof.chain import check_chain
from workers.proof.keys import keys_of
from workers.proof.verdict import Chain

BLOCKS = 5
OTHER = {
    "UUID": "gen_random_uuid()",
    "TEXT": "coalesce({0}, '') || '!'",
    "BYTEA": "coalesce({0}, '') || '\\x00'",
    "TIMESTAMP WITH TIME ZONE": "{0} + interval '1 microsecond'",
    "SMALLINT": "coalesce({0}, 0) + 1",
    "INTEGER": "{0} + 1",
    "BIGINT": "{0} + 1",
    "BOOLEAN": "NOT {0}",
    "JSONB": "CASE WHEN {0} IS NULL THEN '[]' ELSE jsonb_build_array({0}) END",
}


@pytest.fixture
def sealing(settings: Settings) -> Settings:
    return settings.replace(seal_key=KEY, anchor=str(settings.files.data_dir / "anchors.ndjson"))


@pytest.fixture
def journal(sealing: Settings) -> Iterator["Sealed"]:
    """Some blocks with a few rows each in every table, and a loop to look at them again and again."""

    async def fill(bench: Bench) -> None:
        for _ in range(BLOCKS):
            await some_life(bench, 2)
            await seal(bench)

    with_bench(sealing, fill)
    with asyncio.Runner() as runner:
        sealed = Sealed(runner, connect(above(sealing.need("database_url")), pool=1), Path(str(sealing.proof.anchor)))
        yield sealed
        runner.run(sealed.engine.dispose())


class Sealed:
    """The journal, to tamper with in a transaction that is never committed."""

    def __init__(self, runner: asyncio.Runner, engine: AsyncEngine, anchor: Path) -> None:
        self.runner, self.engine, self.anchor = runner, engine, anchor

    def rows(self, table: str) -> list[Any]:
        """Of each row its place and the block that it is in, in a fixed order."""
        query = f"""SELECT t.ctid::text AS place, t.tx, s.block FROM {table} t
            JOIN seals s ON t.tx >= s.from_tx AND t.tx < s.to_tx ORDER BY t.tx, t.ctid"""

        async def read() -> list[Any]:
            async with self.engine.connect() as connection:
                return list((await connection.execute(text(query))).all())

        return self.runner.run(read())

    def after(self, *statements: str) -> Chain:
        """What the check finds after these statements, which must have changed something."""

        async def tamper() -> Chain:
            async with transactional(self.engine).connect() as connection:
                await connection.execute(text("SET LOCAL session_replication_role = replica"))
                changed = 0
                for statement in statements:
                    changed += (await connection.execute(text(statement))).rowcount
                assert changed > 0, statements
                found = await self._check(connection)
                await connection.rollback()
                return found

        return self.runner.run(tamper())

    async def _check(self, connection: AsyncConnection) -> Chain:
        keys = keys_of(KEY)
        return await check_chain(connection, keys, Anchored(self.anchor, keys))


def test_seals_cover_every_column_of_every_sealed_table() -> None:
    """A new column makes a new format: see `workers.proof.block_content`."""
    covered = {table: set(columns.split(", ")) for table, columns in COLUMNS.items()}
    covered["orders"].add("traceparent")  # is for who watches, and decides nothing
    assert covered == {table.name: {column.name for column in table.columns} for table in SEALED}
    keys = {table: {key.split()[0] for key in columns.split(", ")} for table, columns in KEYS.items()}
    assert keys == {table.name: {column.name for column in table.primary_key} for table in SEALED}
    assert set(MADE) < set(COLUMNS)


def named(chain: Chain) -> set[int]:
    """The blocks that faults name."""
    return {
        block for fault in chain.wrong if fault.first and fault.last for block in range(fault.first, fault.last + 1)
    }


def alterable(column: Any) -> bool:
    """What a seal covers; not the transaction, which moves a row, and no number that PostgreSQL alone gives."""
    covered = column.table.name == "seals" or column.name in COLUMNS[column.table.name].split(", ")
    return covered and column.name != "tx" and not (column.identity and column.identity.always)


def another(column: Any) -> str:
    """SQL for another value of the column."""
    if column.primary_key and column.name == "id" and isinstance(column.type, BigInteger):
        return "id + 1000"
    return OTHER[str(column.type.compile(dialect=postgresql.dialect()))].format(column.name)


@pytest.mark.parametrize("examples", [60, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_any_row_altered_deleted_or_inserted_is_told_with_its_block(journal: Sealed, examples: int) -> None:
    rows = {table.name: journal.rows(table.name) for table in SEALED}
    assert all(len(found) >= BLOCKS for found in rows.values())
    assert journal.runner.run(_untouched(journal)).wrong == []

    @given_settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(table=st.sampled_from(SEALED), act=st.sampled_from(("alter", "delete", "insert", "move")), data=st.data())
    def tamper(table: Any, act: str, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(rows[table.name]), "row")
        where = f"WHERE ctid = '{row.place}'"
        blocks = {row.block}
        if act == "delete":
            statement = f"DELETE FROM {table.name} {where}"
        elif act == "alter":
            column = data.draw(st.sampled_from([c for c in table.columns if alterable(c)]), "column")
            statement = f"UPDATE {table.name} SET {column.name} = {another(column)} {where}"
        elif act == "move":
            other = data.draw(st.sampled_from([each for each in rows[table.name] if each.tx != row.tx]), "to")
            statement = f"UPDATE {table.name} SET tx = {other.tx} {where}"
            blocks |= {other.block}
        else:
            names = [column.name for column in table.columns]
            fresh = {"order_id": "gen_random_uuid()", "id": "gen_random_uuid()", "pharmacy": "pharmacy || '!'"}
            fresh |= {"id": "id + 1000"} if table.name in ("operations", "evidence", "changes", "mappings") else {}
            fresh |= {"version": "version + 1000"} if table is mappings else {}
            values = ", ".join(fresh.get(name, name) for name in names)
            into = f"INSERT INTO {table.name} ({', '.join(names)}) OVERRIDING SYSTEM VALUE"
            statement = f"{into} SELECT {values} FROM {table.name} {where}"
        assert named(journal.after(statement)) == blocks

    tamper()


async def _untouched(journal: Sealed) -> Chain:
    async with transactional(journal.engine).connect() as connection:
        return await journal._check(connection)


def test_any_seal_altered_deleted_or_copied_is_told_with_its_block(journal: Sealed) -> None:
    @given_settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        act=st.sampled_from(("alter", "delete", "copy", "swap")),
        block=st.integers(1, BLOCKS),
        column=st.sampled_from([each for each in seals.columns if each.name != "block"]),
        other=st.integers(1, BLOCKS),
    )
    def tamper(act: str, block: int, column: Any, other: int) -> None:
        where = f"WHERE block = {block}"
        if act == "alter":
            assert block in named(journal.after(f"UPDATE seals SET {column.name} = {another(column)} {where}"))
        elif act == "delete":
            assert block in named(journal.after(f"DELETE FROM seals {where}"))
        elif act == "copy":
            names = [each.name for each in seals.columns if each.name != "block"]
            copied = f"INSERT INTO seals SELECT {BLOCKS + 1}, {', '.join(names)} FROM seals {where}"
            assert BLOCKS + 1 in named(journal.after(copied))
        elif block != other:
            swapped = f"UPDATE seals SET block = CASE block WHEN {block} THEN {other} ELSE {block} END"
            apart = f"UPDATE seals SET block = block + 100 WHERE block IN ({block}, {other})"
            chain = journal.after(apart, swapped.replace("CASE block", "CASE block - 100") + " WHERE block > 100")
            assert {block, other} <= named(chain)

    tamper()


def test_the_tail_cut_off_is_told_with_its_blocks(journal: Sealed) -> None:
    """Rows and seals, so that what is left is a chain without a fault of its own; also when nothing is left."""
    for block in range(1, BLOCKS + 1):
        statements = [
            f"DELETE FROM {table.name} WHERE tx >= (SELECT from_tx FROM seals WHERE block = {block})"
            for table in SEALED
        ]
        chain = journal.after(*statements, f"DELETE FROM seals WHERE block >= {block}")
        assert named(chain) == set(range(block, BLOCKS + 1))
        assert len(chain.faults) == 1


def test_the_seals_alone_cut_off_are_told_too(journal: Sealed) -> None:
    assert named(journal.after(f"DELETE FROM seals WHERE block = {BLOCKS}")) == {BLOCKS}
    assert named(journal.after("DELETE FROM seals")) == set(range(1, BLOCKS + 1))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (
            "INSERT INTO operations (operator, act, detail, at) VALUES ('o', 'x', '{}', now() - interval '2 days')",
            "not sealed yet: 1 row of operations is dated before it was written",
        ),
        (
            "INSERT INTO operations (operator, act, detail, tx) VALUES ('o', 'x', '{}', 1 << 40)",
            "1 row of operations is of a transaction yet to come: after a restore run `relais admin migrate`",
        ),
        (
            "INSERT INTO operations (operator, act, detail, tx) VALUES ('o', 'x', '{}', -7)",
            "1 row of operations is of no transaction",
        ),
    ],
)
def test_rows_that_no_block_can_hold_are_told(journal: Sealed, change: str, fault: str) -> None:
    async def commit_and_check() -> Chain:
        async with journal.engine.connect() as connection:
            await connection.execute(text(change.replace("1 << 40", "CAST(1 AS bigint) << 40")))
        return await _untouched(journal)

    assert journal.runner.run(commit_and_check()).faults == [fault]


def test_the_audit_ends_with_1_and_names_what_was_tampered_with(
    sealing: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    relais = CommandLine(capsys, environment(sealing))
    with_bench(sealing, some_life)
    assert relais("admin", "seal").code == 0
    sound = json.loads(relais("audit", "--json").out)
    assert (sound["sound"], sound["seals"]["blocks"], sound["seals"]["unsealed"]) == (True, 1, 0)
    with_bench(sealing, lambda bench: as_superuser(bench, "UPDATE receipts SET reference = 'ERP-9'"))
    done = relais("audit")
    assert (done.code, "block 1: rows of receipts altered" in done.out) == (1, True)
    assert "IS NOT WHAT WAS SEALED" in done.out
    found = json.loads(relais("audit", "--json").out)
    assert (found["sound"], found["balanced"], found["faults"]) == (
        False,
        True,
        ["block 1: rows of receipts altered"],
    )
