"""The first receipt wins, with real processes: after an outage, while the spill drains, and with several intakes of
which one alone lost the journal. What loses its place all the same is a dead letter that names its rival.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.redis_keys import SPILL_RECORDS
from orders.journal import connect
from tests.acceptance.apart import MEDICINE, Apart
from tests.cli import CommandLine
from tests.intake import ask_json
from tests.machines.servers import frozen
from tests.machines.wire import wire_to
from tests.waiting import until
from workers.proof.audit import Ledger, audit

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

PHARMACY = "990000002"


@pytest.fixture
def parts(data_dir: Path, leash: Leash) -> Iterator[Apart]:
    """Simulator and intake; a test starts the worker when it wants one."""
    running = Apart(data_dir, leash)
    try:
        running.sim()
        running.api()
        yield running
    finally:
        running.close()


class Front:
    """One intake as a front end sees it."""

    def __init__(self, parts: Apart, url: str) -> None:
        self.key, self.url = parts.key, url

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        return ask_json(self.url + path, self.key, body, method=method)

    def order(self, reference: str, quantity: int) -> tuple[int, dict[str, Any]]:
        lines = [{"product": MEDICINE, "quantity": quantity}]
        return self.ask("POST", "/orders", {"pharmacy": PHARMACY, "reference": reference, "lines": lines})

    def life(self, order_id: str) -> dict[str, Any]:
        status, found = self.ask("GET", f"/orders/{order_id}")
        assert status == 200, found
        return found

    def mode(self) -> str:
        return str(self.ask("GET", "/readyz")[1]["mode"])


def books(parts: Apart) -> Ledger:
    async def look() -> Ledger:
        engine = connect(parts.journal)
        try:
            return await audit(engine)
        finally:
            await engine.dispose()

    return asyncio.run(look())


def spilled(parts: Apart) -> int:
    with redis.Redis.from_url(parts.valkey.url) as client:
        return int(client.llen(SPILL_RECORDS))


def test_a_receipt_of_the_outage_stands_against_whatever_comes_after(parts: Apart) -> None:
    front = Front(parts, parts.url)
    assert front.order("A", 1)[0] == 202
    parts.postgres.kill()
    taken = {f"S{number}": front.order(f"S{number}", 1) for number in range(250)}
    status, first = front.order("B", 2)
    assert (status, first["kept"]) == (202, "spill")
    _, other = front.order("C", 1)
    parts.kill_api()
    parts.postgres.start()
    parts.api()
    until(lambda: front.mode() == "journal", 30, what="the journal is used again")

    status, refused = front.order("B", 3)
    assert (status, refused["first"]) == (409, first["id"])
    assert front.order("B", 2) == (200, {"id": first["id"], "repeated": True, "kept": "spill"})
    for path in (f"/orders/{first['id']}", f"/pharmacies/{PHARMACY}/orders/B"):
        status, life = front.ask("GET", path)
        assert (status, life["id"], life["state"], life["kept"]) == (200, first["id"], "accepted", "spill")
    for _ in range(2):
        assert front.ask("DELETE", f"/orders/{other['id']}") == (200, {"id": other["id"], "state": "cancelled"})
    assert front.life(other["id"])["state"] == "cancelled"
    nobody = "00000000-0000-7000-8000-000000000000"
    assert front.ask("GET", f"/orders/{nobody}")[0] == 404
    parts.valkey.kill()
    assert [front.ask(way, f"/orders/{nobody}")[0] for way in ("GET", "DELETE")] == [503, 503]
    parts.valkey.start()

    worker = parts.worker()
    until(lambda: spilled(parts) < 252, 30, every=0.005, what="the spill drains")
    worker.kill()
    parts.worker()
    until(lambda: front.life(first["id"])["state"] == "delivered", 60, what="the first order is delivered")
    until(lambda: books(parts).delivered == 252, 60, what="every order is delivered")
    assert front.order("B", 3)[0] == 409
    assert front.order("B", 2) == (200, {"id": first["id"], "repeated": True, "kept": "journal"})
    assert [front.life(answer["id"])["state"] for _, answer in taken.values()] == ["delivered"] * 250
    assert (front.life(other["id"])["state"], front.life(other["id"])["kept"]) == ("cancelled", "journal")
    ledger = books(parts)
    assert (ledger.balanced, ledger.accepted, ledger.cancelled, ledger.dead) == (True, 253, 1, 0)


@pytest.mark.slow
def test_what_a_frozen_postgresql_sent_into_the_spill_is_found_and_taken_back_there(parts: Apart) -> None:
    front = Front(parts, parts.url)
    _, journalled = front.order("BEFORE", 1)
    with frozen(parts.postgres.pid):
        _, first = front.order("A", 1)
        _, other = front.order("B", 1)
        assert (first["kept"], other["kept"]) == ("spill", "spill")
        for path in (f"/orders/{first['id']}", f"/pharmacies/{PHARMACY}/orders/A"):
            status, life = front.ask("GET", path)
            assert (status, life["id"], life["state"], life["kept"]) == (200, first["id"], "accepted", "spill")
        for _ in range(2):
            assert front.ask("DELETE", f"/orders/{other['id']}") == (200, {"id": other["id"], "state": "cancelled"})
        assert (front.life(other["id"])["state"], front.life(other["id"])["kept"]) == ("cancelled", "spill")
        for way in ("GET", "DELETE"):  # of what only the journal has nobody can tell
            assert front.ask(way, f"/orders/{journalled['id']}")[0] == 503
    parts.worker()
    until(lambda: books(parts).delivered == 2, 60, what="what was not taken back is delivered")
    assert front.life(first["id"])["state"] == "delivered"
    assert (front.life(other["id"])["state"], front.life(other["id"])["kept"]) == ("cancelled", "journal")
    ledger = books(parts)
    assert (ledger.balanced, ledger.accepted, ledger.cancelled, ledger.dead) == (True, 3, 1, 0)


def test_an_intake_that_alone_lost_the_journal_and_the_others(parts: Apart, capsys: pytest.CaptureFixture[str]) -> None:
    relais, port = CommandLine(capsys, parts.env), choose()
    whole = Front(parts, parts.url)
    with wire_to(parts.postgres.port) as wire:
        parts.env["RELAIS_DATABASE_URL"] = parts.journal.replace(f":{parts.postgres.port}", f":{wire.port}")
        parts.run("api", "--port", str(port))
        parts.env["RELAIS_DATABASE_URL"] = parts.journal
        parts.worker()
        cut = Front(parts, f"http://127.0.0.1:{port}")
        assert cut.order("WARM", 1)[1]["kept"] == "journal"
        _, known = whole.order("KNOWN", 1)
        wire.cut()
        told: list[str] = []
        for number in range(40):
            status, first = cut.order(f"X{number}", 1)
            assert (status, first["kept"]) == (202, "spill")
            status, refused = whole.order(f"X{number}", 2)
            assert (status, refused.get("first")) == (409, first["id"])
            told.append(first["id"])
        status, loser = cut.order("KNOWN", 2)  # of which the one that is cut cannot know
        assert (status, loser["kept"]) == (202, "spill")
        until(lambda: spilled(parts) == 0, 30, what="the spill is empty")
        until(lambda: books(parts).delivered == 42, 60, what="what came first is delivered")
        life = whole.life(loser["id"])
        assert (life["state"], life["reason"], life["rival"]) == ("dead", "conflict", known["id"])
        assert {whole.life(order_id)["state"] for order_id in told} == {"delivered"}
        assert whole.ask("GET", f"/pharmacies/{PHARMACY}/orders/KNOWN")[1]["id"] == known["id"]
        ledger = books(parts)
        assert (ledger.balanced, ledger.dead, ledger.accepted) == (True, 1, 43)
        (listed,) = json.loads(relais("dead", "list", "--reason", "conflict", "--json").out)
        assert (listed["id"], listed["error"]) == (
            loser["id"],
            f"order {known['id']} has its reference, with other content",
        )
        assert relais("dead", "replay", loser["id"], "--yes", "--because", "by mistake").code == 1
        wire.mend()
        until(lambda: cut.mode() == "journal", 30, what="the journal is used again")
        assert cut.order("KNOWN", 2)[0] == 409
        assert relais("dead", "discard", loser["id"], "--yes", "--because", "the pharmacy wants the first").code == 0
        assert relais("audit").code == 0
