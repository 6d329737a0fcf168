"""The journal's clock is set, by seconds or by a day: no order waits for it, and none goes twice for it."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.ext.asyncio import AsyncEngine
from uuid_utils.compat import uuid7

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from orders.access import receipt_keys
from tests.dispatching import accept, dispatching, on_journal
from tests.journal import on_engine
from tests.machines.clock import SteppedPostgres
from tests.machines.servers import SMALL, seed
from tests.waiting import until
from workers.dispatch.journal_clock import JournalClock
from workers.erp.port import ErpReceipt, ErpReceiptLine
from workers.erp.signatures import Signatures
from workers.erp.signing import sign
from workers.trust.key_cache import ReceiptKeyCache

DAY = 86_400


@pytest.fixture
def server(leash: Leash, data_dir: Path) -> Iterator[SteppedPostgres]:
    """A migrated journal whose clock can be set."""
    seed(data_dir)
    server = SteppedPostgres(data_dir, choose(), SMALL)
    server.start(leash)
    yield server
    server.stop()


def set_clock(settings: Settings, server: SteppedPostgres, seconds: int) -> float:
    """Set it; when that was, by our monotonic clock."""
    server.clock.step(seconds)
    wanted = f"SELECT abs(extract(epoch FROM clock_timestamp()) - {{}} - {seconds}) < 2"
    until(lambda: on_journal(settings, wanted.format(time.time()))[0][0], what="the clock is set")
    return time.monotonic()


@pytest.mark.parametrize("step", [18, DAY])
def test_a_clock_that_is_set_forward_takes_no_order_from_a_worker_that_has_it(
    settings: Settings, server: SteppedPostgres, step: int
) -> None:
    here = settings.replace(database_url=server.url, lease=8.0, batch_budget=2.0, erp_timeout=1.0)
    with dispatching(here):
        until(lambda: on_journal(here, "SELECT 1 FROM backends"), what="it leads")
        accept(here, 3)
        claimed = "UPDATE deliveries SET state = 'delivering', attempts = 1, lease = gen_random_uuid(), lease_until = "
        until(lambda: on_journal(here, "SELECT count(*) = 3 FROM deliveries WHERE state = 'dispatched'")[0][0])
        on_journal(here, f"{claimed} clock_timestamp() + interval '8 s'")
        began = set_clock(here, server, step)
        delivering = "SELECT count(*) FROM deliveries WHERE state = 'delivering'"
        until(lambda: on_journal(here, delivering)[0][0] == 0, 30, what="they are taken back in the end")
        assert time.monotonic() - began > 5, "and not before the lease was over"


@pytest.mark.parametrize("step", [-18, -DAY])
def test_a_clock_that_is_set_back_keeps_no_order_waiting(
    settings: Settings, server: SteppedPostgres, step: int
) -> None:
    here = settings.replace(database_url=server.url, claim_patience=2.0, lease=3.0, batch_budget=1.0, erp_timeout=0.5)
    with dispatching(here):
        until(lambda: on_journal(here, "SELECT 1 FROM backends"), what="it leads")
        accept(here, 2)
        until(lambda: on_journal(here, "SELECT count(*) = 2 FROM deliveries WHERE state = 'dispatched'")[0][0])
        on_journal(
            here,
            "UPDATE deliveries SET state = 'delivering', attempts = 1, lease = gen_random_uuid(), lease_until = "
            "clock_timestamp() + interval '3 s' WHERE order_id = (SELECT order_id FROM deliveries LIMIT 1)",
        )
        set_clock(here, server, step)
        waits = """SELECT count(*) FROM deliveries WHERE NOT (state = 'accepted' AND due_at <= clock_timestamp())
            AND NOT (state = 'dispatched' AND lease_until <= clock_timestamp() + interval '3 s')"""
        until(lambda: on_journal(here, waits)[0][0] == 0, 14, what="nothing waits for the clock")


def test_an_order_that_was_due_soon_is_due_at_once_when_the_clock_is_set_back(
    settings: Settings, server: SteppedPostgres
) -> None:
    here = settings.replace(database_url=server.url, redis_url="redis://127.0.0.1:1/0")
    with dispatching(here):
        until(lambda: on_journal(here, "SELECT 1 FROM backends"), what="it leads")
        accept(here, 2)
        set_clock(here, server, -DAY)
        due = "SELECT count(*) FROM deliveries WHERE due_at <= clock_timestamp()"
        until(lambda: on_journal(here, due)[0][0] == 2, what="they are due")


def test_the_date_of_a_receipt_is_judged_by_the_journals_clock_not_by_the_workers(
    settings: Settings, server: SteppedPostgres
) -> None:
    """A worker whose clock is a day off holds no signer for false, nor when the journal's and a signer's are set."""
    here = settings.replace(database_url=server.url, receipts="require")
    set_clock(here, server, DAY)
    key, line, digest = Ed25519PrivateKey.generate(), ErpReceiptLine(1, "3400937318044", 1), b"d" * 32

    async def work(engine: AsyncEngine) -> None:
        await receipt_keys.add(engine, "erp", key.public_key().public_bytes_raw(), "k")
        signatures = Signatures(here, ReceiptKeyCache(engine, "erp"))
        assert await signatures.lacking() == ""

        async def signer(order_id: UUID, days: int, *, fresh: bool) -> str | None:
            at = datetime.now(UTC) + timedelta(days=days)
            told = sign(key, "k", str(order_id), digest=digest.hex(), reference="R1", lines=[line], at=at)
            receipt = ErpReceipt("R1", digest, (line,), signature=told)
            return (await signatures.of(receipt, order_id, fresh=fresh)).key_id

        older = UUID(int=int(1000 * (time.time() + DAY)) << 80 | 7 << 76 | 2 << 62)  # an id of tomorrow
        assert await signer(older, 1, fresh=True) == "k"
        await asyncio.to_thread(set_clock, here, server, 0)
        assert await signer(uuid7(), 0, fresh=True) == "k", "what was read of the journal's clock is from before"
        assert await signer(older, 0, fresh=False) == "k", "an order from before, confirmed after it"

    on_engine(server.url, work)


def test_only_a_step_is_one() -> None:
    clock = JournalClock()
    now = time.monotonic()
    clock.saw(1000.0, now - 40.0, now - 40.0)
    clock.saw(1010.0, now - 30.0, now - 30.0)
    clock.saw(1025.0, now - 29.0, now - 14.0)  # a look that took long
    clock.saw(1026.5, now - 13.0, now - 13.0)
    assert clock.leases_ran_out(60.0)
    assert not clock.is_behind("erp")
    clock.saw(1056.0, now - 1.0, now - 1.0)  # 18 s too much
    assert not clock.leases_ran_out(60.0)
    assert clock.leases_ran_out(0.5)
    clock.saw(1039.0, now, now)
    assert clock.is_behind("erp")
    clock.caught_up("erp")
    assert not clock.is_behind("erp")
    assert clock.is_behind("another")


def test_a_clock_that_stands_still_falls_behind_little_by_little() -> None:
    clock = JournalClock()
    for second in range(4):
        assert not clock.is_behind("erp")
        clock.saw(1000.0, float(second), float(second))
    assert clock.is_behind("erp")
    clock.caught_up("erp")
    for second in range(4, 7):
        clock.saw(1000.0, float(second), float(second))
    assert clock.is_behind("erp"), "and again, for as long as it stands still"
    clock.caught_up("erp")
    for second in range(7, 7000):  # slewed, by a thousandth
        clock.saw(1000.0 + (second - 6) * 0.999, float(second), float(second))
    assert not clock.is_behind("erp")
