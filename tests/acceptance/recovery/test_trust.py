"""A backend that lies, with real processes: found out on the first order, cut off at once, while intake goes on."""

import asyncio
import base64
import json
import threading
import urllib.request
from collections.abc import Iterator, Sequence, Sized
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
from sqlalchemy import text

from config.embedded.leash import Leash
from config.redis_keys import NORMAL, queue_of
from config.settings import Settings
from orders.access import receipt_keys
from orders.journal import connect
from orders.queries import backends as backend_rows
from orders.queries import orders as order_queries
from tests.acceptance.apart import Apart, FrontEnd
from tests.cli import CommandLine
from tests.constants.turned import SOON, turned
from tests.dispatching import dispatching
from tests.sealing import trusted
from tests.waiting import until
from workers.dispatch import scheduler
from workers.erp.keyfile import generate
from workers.erp.sim.book import read_effects
from workers.erp.sim.telling import lot
from workers.queue import publisher

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

TAMPERED = {  # what the dial does, and what it is found out as
    "digest": "wrong_digest",
    "signature": "bad_signature",
    "reference": "reference_reused",
    "quantity": "wrong_lines",
    "unsigned": "missing_signature",
    "other_key": "unknown_key",
    "other_order": "unsent_order",
    "time": "late_or_early",
}
WAITING = queue_of(NORMAL, "erp")
LIES = 0.1  # share of orders: who is not lied to goes on until it is told
KINDS = [[*TAMPERED][:2], pytest.param([*TAMPERED][2:], marks=pytest.mark.slow)]


@pytest.fixture
def parts(data_dir: Path, leash: Leash) -> Iterator[Apart]:
    """The parts, with an ERP that signs, and workers that insist on it."""
    parts = Apart(data_dir, leash)
    try:
        parts.env |= {"RELAIS_RECEIPTS": "require", "RELAIS_OPERATOR": "alice", "RELAIS_ERP_CONCURRENCY": "2"}
        parts.env |= turned(**SOON, MOST_IDS=25)
        public = generate(data_dir / "erp.key")
        journal(parts, lambda engine: receipt_keys.add(engine, "erp", public, None, trusted))
        parts.sim("--sign-key", str(data_dir / "erp.key"))
        parts.api()
        yield parts
    finally:
        parts.close()


def journal(parts: Apart, work: Any) -> Any:
    async def run() -> Any:
        engine = connect(parts.postgres.url)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(run())


@contextmanager
def load(parts: Apart) -> Iterator[FrontEnd]:
    """A front end at work, whose every order is safe when it is left."""
    front = FrontEnd(parts.url, parts.key)
    thread = threading.Thread(target=asyncio.run, args=(front.run(),))
    thread.start()
    try:
        yield front
    finally:
        front.stop()
        thread.join(60)
    assert not thread.is_alive()


def dial(parts: Apart, **knobs: object) -> datetime:
    """Turn the dial; the time from which on it is turned."""
    request = urllib.request.Request(f"{parts.control}/_dial", json.dumps(knobs).encode(), method="PUT")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    return datetime.now(UTC)


def effects(parts: Apart, since: datetime) -> list[UUID]:
    """The orders that reached the ERP after a time."""
    book = Path(parts.env["RELAIS_DATA_DIR"]) / "erp-sim.jsonl"
    return [
        UUID(effect["id"]) for effect in read_effects(book) if datetime.fromisoformat(effect["received_at"]) > since
    ]


def standing(parts: Apart) -> dict[str, Any]:
    rows = journal(parts, backend_rows.standing)
    return dict(rows[0]) if rows else {}


def states(parts: Apart, ids: Sequence[UUID]) -> set[str]:
    async def read(engine: Any) -> set[str]:
        return {(await order_queries.order(engine, order_id))["state"] for order_id in ids}

    found: set[str] = journal(parts, read)
    return found


@pytest.mark.parametrize("kinds", KINDS, ids=" ".join)
def test_a_lie_is_found_out_on_the_first_order_and_nothing_follows(
    parts: Apart, capsys: pytest.CaptureFixture[str], kinds: list[str]
) -> None:
    relais = CommandLine(capsys, parts.env)
    parts.worker()
    parts.worker()
    with load(parts) as front:
        until(partial(effects, parts, datetime.now(UTC)), 60, what="orders flow")
        for kind in kinds:
            under_way(parts, relais, front)
            turned = dial(parts, tamper=kind, tamper_rate=LIES, latency_ms=50)
            assert relais("resume", "--because", "a test").code == 0
            until(lambda: standing(parts)["quarantined"], 30, what=f"{kind} is found out")
            row, taken = standing(parts), len(front.told)
            until(partial(more_than, front.told, taken + 50), 60, what="intake goes on")
            assert effects(parts, row["quarantined_at"]) == []
            assert (row["quarantined_by"], row["held_why"].partition(",")[0]) == ("relais", TAMPERED[kind])
            found = json.loads(relais("evidence", "--json", "--limit", "1000").out)
            proof = [piece["order_id"] for piece in found if piece["conclusive"] and piece["kind"] == TAMPERED[kind]]
            assert proof
            affected = [order_id for order_id in effects(parts, turned) if lot(str(order_id)) < LIES]
            affected += [UUID(order_id) for order_id in proof if order_id]
            assert states(parts, affected) <= {"accepted"}, "no order that was lied about counts as delivered"
            dial(parts)
            assert relais("release", "--because", f"no more {kind}", "--yes").code == 0
    parts.delivered_once(front.told)


def under_way(parts: Apart, relais: CommandLine, front: FrontEnd) -> None:
    """So many orders wait, and so wide is the window, that every worker process will have a batch under way."""
    assert relais("pause", "--because", "orders gather").code == 0
    until(partial(more_than, front.told, len(front.told) + 150), 60, what="orders gather")

    async def widen(engine: Any) -> None:
        async with engine.connect() as connection:
            await connection.execute(text("""UPDATE backends SET circuit = 'closed', "window" = 150"""))

    journal(parts, widen)


def more_than(found: Sized, least: int) -> bool:
    return len(found) > least


def test_an_edited_message_changes_no_orders_fate(parts: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ids are those of other orders, and of one that nobody knows, one of them twice; and it comes twice."""
    settings = Settings(
        database_url=parts.postgres.url,
        redis_url=parts.valkey.url,
        _env_file=None,
        worker_concurrency=8,
        claim_patience=600.0,
    )
    for module in (scheduler, publisher):
        monkeypatch.setattr(module, "MOST_IDS", 10)
    front = FrontEnd(parts.url, parts.key, hands=4, pause=0.0)
    with ExitStack() as stack, redis.Redis.from_url(parts.valkey.url) as client:
        thread = threading.Thread(target=asyncio.run, args=(front.run(),))
        thread.start()
        until(partial(more_than, front.told, 60), 30, what="orders wait")
        front.stop()
        thread.join(60)
        stack.enter_context(dispatching(settings))
        until(lambda: client.llen(WAITING) >= 5, 30, what="messages wait")
        stack.close()
        known = [str(order_id) for order_id in front.told.values()]
        for number, raw in enumerate(client.lrange(WAITING, 0, -1)):
            client.lset(WAITING, number, _edited(raw, [known[0], str(uuid4()), known[-1], known[-1]]))
        client.lpush(WAITING, client.lindex(WAITING, 0))
    journal(parts, _unclaimed_for_long)
    parts.worker()
    parts.delivered_once(front.told)


def _edited(raw: bytes, ids: list[str]) -> bytes:
    message = json.loads(raw)
    (_, *more) = json.loads(base64.b64decode(message["body"]))
    message["body"] = base64.b64encode(json.dumps([["erp", ids], *more]).encode()).decode()
    return json.dumps(message).encode()


async def _unclaimed_for_long(engine: Any) -> None:
    """The patience for a dispatch that nobody claims has passed: the messages that named them are no more."""
    async with engine.connect() as connection:
        await connection.execute(
            text("UPDATE deliveries SET lease_until = now() WHERE state = 'dispatched' AND lease_until > now()")
        )
