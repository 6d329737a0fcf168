"""An ERP comes back from a backup that lacks what it had acknowledged: real intake, worker, simulator and operator.

The operator's process is killed in the middle of asking and in the middle of sending again; it ends the same.
"""

import asyncio
import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from config.embedded.leash import Leash
from tests.acceptance.apart import MEDICINE, Apart, apart
from tests.cli import CommandLine, command, running
from tests.waiting import until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
BUSY = """
SELECT count(*) FROM pg_stat_activity
WHERE state = 'active' AND query LIKE '%INSERT INTO findings%' AND pid <> pg_backend_pid()
"""
UNDELIVERED = "SELECT count(*) FROM deliveries WHERE state <> 'delivered'"


class Restored:
    """A site whose ERP has everything, and what a test does to it."""

    def __init__(self, parts: Apart) -> None:
        self.parts = parts

    def sql(self, statement: str, *values: object) -> list[Any]:
        async def ask() -> list[Any]:
            connection = await asyncpg.connect(self.parts.postgres.url)
            try:
                return list(await connection.fetch(statement, *values))
            finally:
                await connection.close()

        return asyncio.run(ask())

    def one(self, statement: str, *values: object) -> Any:
        return self.sql(statement, *values)[0][0]

    def deliver(self, count: int) -> set[UUID]:
        """Hand over a batch, and wait until all of it is with the ERP."""

        async def post() -> set[UUID]:
            lines = [{"product": MEDICINE, "quantity": 2}]
            orders = [{"pharmacy": f"P{n % 50:02}", "reference": f"R{n}", "lines": lines} for n in range(count)]
            body = "\n".join(map(json.dumps, orders)).encode()
            headers = {"Authorization": f"Bearer {self.parts.key}"}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.post(f"{self.parts.url}/orders/batch", data=body) as answer,
            ):
                said = [json.loads(line) async for line in answer.content]
            return {UUID(line["id"]) for line in said if line["status"] == "accepted"}

        ids = asyncio.run(post())
        assert len(ids) == count
        until(lambda: self.one(UNDELIVERED) == 0, 120, 0.2, "every order is delivered")
        return ids

    def command(self, path: str, **body: object) -> dict[str, Any]:
        request = urllib.request.Request(self.parts.control + path, json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            told: dict[str, Any] = json.load(answer)
            return told

    @contextmanager
    def held(self, statement: str, *values: object) -> Iterator[None]:
        """Inside, a transaction of somebody else's that has done this is open; then it is rolled back."""
        loop = asyncio.new_event_loop()
        connection = loop.run_until_complete(asyncpg.connect(self.parts.postgres.url))
        try:
            loop.run_until_complete(connection.execute("BEGIN"))
            loop.run_until_complete(connection.execute(statement, *values))
            yield
        finally:
            loop.run_until_complete(connection.close())
            loop.close()


@pytest.fixture
def site(data_dir: Path, leash: Leash) -> Iterator[Restored]:
    with apart(data_dir, leash) as parts:
        yield Restored(parts)


@pytest.mark.parametrize("count", [1_500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_what_a_restored_erp_has_forgotten_is_found_and_there_once(
    site: Restored, leash: Leash, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    relais, env = CommandLine(capsys, site.parts.env), site.parts.env
    ids = site.deliver(count)
    lost = {UUID(order_id) for order_id in site.command("/_forget", last=0.3)["ids"]}
    assert len(lost) == 3 * count // 10

    def some_asked() -> int:
        return int(site.one("SELECT present + missing FROM reconciliations WHERE id = 1"))

    newest = "SELECT order_id FROM receipts WHERE order_id = ANY($1) ORDER BY received_at DESC, order_id DESC LIMIT 1"
    last = site.one(newest, list(lost))
    with site.held("INSERT INTO findings VALUES (1, $1, 'missing', NULL, '\"\"')", last):
        asking = command("reconcile", "--since", "1h", "--because", "a test")
        with running(leash, "reconcile", asking, env, ready="reconciliation 1") as (process, _):
            until(lambda: site.one(WAITING) > 0, 60, what="it is about to commit the page of the last one")
            assert 0 < some_asked() < count
            process.kill()
    until(lambda: site.one(BUSY) == 0, 30, what="what it had asked of the journal is over")

    dry = relais(
        "reconcile", "--resume", "1", "--resend", "--dry-run", "--json", "--limit", "100000", "--because", "a test"
    )
    report = json.loads(dry.out)
    assert {UUID(found["id"]) for found in report["findings"]} == lost
    assert {found["kind"] for found in report["findings"]} == {"missing"}
    assert (dry.code, report["present"], report["missing"]) == (1, count - len(lost), len(lost))
    assert (report["listing"], report["foreign"], report["resend"]["preview"]["orders"]) == ("whole", 0, len(lost))
    assert site.one(UNDELIVERED) == 0, "a dry run sends nothing again"

    with site.held("SELECT FROM deliveries WHERE order_id = $1 FOR UPDATE", max(lost)):
        sending = command("reconcile", "--resume", "1", "--resend", "--yes", "--because", "restored from a backup")
        with running(leash, "resend", sending, env, ready="To be sent again") as (process, _):
            until(lambda: site.one(WAITING) > 0, 60, what="it has come to the last order")
            assert 0 < site.one("SELECT resent FROM reconciliations WHERE id = 1") < len(lost)
            process.kill()

    assert relais("reconcile", "--resume", "1", "--resend", "--yes", "--because", "a test").code == 0
    assert relais("reconcile", "--resume", "1", "--resend", "--yes", "--because", "a test").code == 0, (
        "and once more, for nothing"
    )
    assert site.one("SELECT resent FROM reconciliations WHERE id = 1") == len(lost)
    assert site.one("SELECT sum((detail->>'orders')::int) FROM operations WHERE act = 'resend'") == len(lost)
    until(lambda: site.one(UNDELIVERED) == 0, 120, 0.2, "every order is delivered again")
    assert site.parts.effects() == Counter(ids), "each order once"
    again = json.loads(relais("reconcile", "--since", "1h", "--because", "a test", "--json").out)
    assert (again["present"], again["findings"]) == (count, [])
    assert relais("audit").code == 0
