"""An ERP that does not have at once what it was sent: "not found" is no reason to send an order again too early.

Its ERP is the notebook of `tests/workers/erp/example` whose clerk copies what lies on a pile when he gets to it. Time
passes by the journal's rows: nobody's memory of when an order was sent counts.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from orders.queries import orders as order_queries
from orders.schema.tables.reconcile import Difference
from tests.bench import Bench, OnBench
from tests.machines.erp import settings_for
from workers.delivery.claim import claim
from workers.delivery.deliver import deliver
from workers.delivery.poll import poll
from workers.delivery.retry_policy import AGAIN, POLL_PAUSE
from workers.erp.connectors import open_erp
from workers.reconcile.compare import reconcile
from workers.reconcile.patience import Patience
from workers.reconcile.runs import begin, findings

EXAMPLE = Path(__file__).parents[1] / "erp" / "example"


class Office:
    """A notebook, its pile and its clerk."""

    def __init__(self, directory: Path, bench: Bench, **settings: Any) -> None:
        self._own = directory / "own.toml"
        self._own.write_text('title = "orders"\nclerk = true')
        self._book, self._pile = directory / "orders.ndjson", directory / "orders.pile"
        self._where, self._settings, self.bench = f"file://{directory}", settings, bench

    def worker(self) -> Any:
        """Another process's connector: it remembers nothing."""
        settings = settings_for(self._where, erp_kind="notebook", erp_connector=self._own, **self._settings)
        return self.bench.resources(open_erp(settings))  # type: ignore[arg-type]

    def copies(self) -> None:
        """The clerk copies the pile into the notebook."""
        with self._book.open("a") as book:
            book.write(self._pile.read_text())
        self._pile.unlink()

    def loses(self) -> None:
        """The pile falls behind the desk."""
        self._pile.unlink()

    def sent(self) -> list[UUID]:
        """What lies on the pile or stands in the book: each sending once."""
        papers = [each for each in (self._book, self._pile) if each.exists()]
        return [UUID(json.loads(line)["id"]) for paper in papers for line in paper.read_text().splitlines()]

    async def passes(self, seconds: float) -> None:
        """Time goes by, for all that the journal knows; and what waits is due."""
        shift = f"interval '{seconds} seconds'"
        await self.bench.sql(f"UPDATE deliveries SET sent_at = sent_at - {shift}")
        await self.bench.now_due()

    async def order(self, order_id: UUID) -> Any:
        return (await self.bench.run(text(f"SELECT * FROM deliveries WHERE order_id = '{order_id}'")))[0]


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(EXAMPLE)])


def test_an_order_whose_worker_died_is_not_sent_again_before_absent_after(on_bench: OnBench, tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        office = Office(tmp_path, bench)
        (order_id,) = await bench.accept()
        await bench.dispatch()
        taken = await claim(bench.worker, [order_id], bench.settings)
        assert taken is not None, "its worker dies as it has sent it, and writes nothing"
        await bench.sql("UPDATE deliveries SET lease_until = now() - interval '1 second'")
        assert await bench.rescue() == {"delivering": 1}
        for waited in (0.0, 300.0, 200.0):
            await office.passes(waited)
            told = await deliver(office.worker(), await bench.dispatch())
            assert (told.held, office.sent()) == (1, []), "it may still turn up"
            row = await office.order(order_id)
            assert (row.state, row.unsure, row.attempts) == ("accepted", True, 1)
            assert row.error.startswith("not with the ERP, which is not believed before 20")
            assert told.why == row.error
        standing = await bench.standing()
        assert (standing["circuit"], standing["failures"]) == ("closed", 0), "the ERP has answered: it failed nothing"
        await office.passes(101.0)
        assert (await deliver(office.worker(), await bench.dispatch())).submitted == 1
        assert office.sent() == [order_id]

    on_bench(work)


def test_what_turns_up_meanwhile_is_delivered_and_there_once(on_bench: OnBench, tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        office = Office(tmp_path, bench)
        (order_id,) = await bench.accept()
        assert (await deliver(office.worker(), await bench.dispatch())).submitted == 1
        for waited in (0.0, 500.0):
            await office.passes(waited)
            told = await poll(office.worker(), [order_id])
            assert (told.claimed, told.unanswered) == (1, 0), "the ERP was heard"
            assert (await office.order(order_id)).state == "submitted"
        office.copies()
        await office.passes(60.0)
        assert (await poll(office.worker(), [order_id])).delivered == 1
        assert office.sent() == [order_id]
        assert (await order_queries.order(bench.engine, order_id))["receipt"]["reference"] == "N-1"

    on_bench(work)


def test_what_was_lost_on_the_way_goes_again_once_that_is_believed(on_bench: OnBench, tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        office = Office(tmp_path, bench)
        (order_id,) = await bench.accept()
        await deliver(office.worker(), await bench.dispatch())
        first = (await office.order(order_id)).sent_at
        office.loses()
        await office.passes(601.0)
        assert (await poll(office.worker(), [order_id])).held == 1
        row = await office.order(order_id)
        assert (row.state, row.error) == ("accepted", "the ERP took it and has forgotten it")
        await bench.now_due()
        assert (await deliver(office.worker(), await bench.dispatch())).submitted == 1
        assert office.sent() == [order_id]
        assert (await office.order(order_id)).sent_at > first, "counted from the last sending on"
        await poll(office.worker(), [order_id])
        assert (await office.order(order_id)).state == "submitted"

    on_bench(work)


def test_it_is_asked_about_more_rarely_the_longer_it_takes(on_bench: OnBench, tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        office = Office(tmp_path, bench)
        (order_id,) = await bench.accept()
        await bench.sql("UPDATE deliveries SET unsure = true, sent_at = clock_timestamp()")
        for waited, pause in ((0.0, POLL_PAUSE), (100.0, AGAIN * 100), (300.0, 600 - 400)):
            await office.passes(waited)
            await deliver(office.worker(), await bench.dispatch())
            row = await office.order(order_id)
            left = (await bench.run(text("SELECT clock_timestamp() AS now")))[0].now
            assert row.due_at - left == pytest.approx(timedelta(seconds=pause), abs=timedelta(seconds=5))

    on_bench(work)


def test_the_settings_of_a_backend_say_it_where_its_connector_cannot_know(on_bench: OnBench, tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        office = Office(tmp_path, bench, erp_absent_after=5.0, erp_ack_within=10.0)
        can = office.worker().erp.capabilities
        assert (can.absent_after, can.ack_within, can.unique_reference) == (5.0, 10.0, False)
        (order_id,) = await bench.accept()
        await bench.sql("UPDATE deliveries SET unsure = true, sent_at = clock_timestamp() - interval '6 seconds'")
        assert (await deliver(office.worker(), await bench.dispatch())).submitted == 1
        assert office.sent() == [order_id]

    on_bench(work)


def test_an_acknowledged_order_is_not_called_lost_before_absent_after(on_bench: OnBench, tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        office = Office(tmp_path, bench)
        (order_id,) = await bench.accept()
        await deliver(office.worker(), await bench.dispatch())
        office.copies()
        await bench.now_due()
        assert (await poll(office.worker(), [order_id])).delivered == 1
        (tmp_path / "orders.ndjson").unlink()
        for waited, kind in ((0, Difference.UNKNOWN), (601, Difference.MISSING)):
            # What a receipt says is never changed; an ERP with a shorter memory sees the same as one that waited.
            erp = office.worker().erp
            erp.capabilities = replace(erp.capabilities, absent_after=max(0.0, 600.0 - waited))
            started = await begin(bench.by("ops"), "erp", (await office.order(order_id)).accepted_at, None, "a test")
            run = await reconcile(bench.by("ops"), erp, started, Patience(0.0, 5.0), lambda *_: None)
            (found,) = await findings(bench.by("ops"), run.id, 10)
            assert (found["id"], found["kind"], run.sound) == (order_id, kind, False)
            if kind is Difference.UNKNOWN:
                assert str(found["detail"]).startswith("the ERP does not have it, which is not believed before 20")

    on_bench(work)
