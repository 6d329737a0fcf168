"""The audit finds what is missing and what was altered, and what an operator did is written down."""

from typing import Any

import pytest
from sqlalchemy import text

from config.settings import Settings
from orders.errors import NotFound
from orders.queries import orders as order_queries
from orders.states import State
from tests.bench import Bench, OnBench, Scripted, always
from workers import operations
from workers.delivery.deliver import deliver
from workers.erp.port import Kind
from workers.proof.audit import audit
from workers.replay import redrive
from workers.replay.choice import Choice
from workers.replay.redrive import discard, left, preview, replay


async def acts(bench: Bench) -> list[tuple[str, str, str | None, dict[str, Any]]]:
    rows = await bench.run(text("SELECT operator, act, reason, detail FROM operations ORDER BY id"))
    return [tuple(row) for row in rows]


async def dead_letters(bench: Bench, count: int) -> None:
    await bench.accept(count)
    await deliver(bench.resources(Scripted(always(Kind.REFUSED))), await bench.dispatch())


def test_the_books_balance_while_orders_are_everywhere(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await dead_letters(bench, 3)
        await bench.accept(4)
        await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), await bench.dispatch())
        await bench.accept(5)
        await bench.dispatch()
        ledger = await audit(bench.by("audit"))
        assert (ledger.accepted, ledger.backlog, ledger.delivered, ledger.dead) == (12, 5, 4, 3)
        assert ledger.balanced

    on_bench(work)


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        ("UPDATE orders SET body = body || ' '::bytea", "1 order whose bytes were altered"),
        ("DELETE FROM deliveries", "1 order without a delivery"),
        ("DELETE FROM orders", "1 delivery without an order"),
        ("DELETE FROM receipts", "1 delivered order without a receipt"),
    ],
)
def test_it_finds_what_somebody_did_behind_the_guards(on_bench: OnBench, harm: str, fault: str) -> None:
    async def work(bench: Bench) -> None:
        await bench.accept()
        await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), await bench.dispatch())
        assert (await audit(bench.by("audit"))).balanced
        table = harm.split()[2] if harm.startswith("DELETE") else harm.split()[1]
        await bench.sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        await bench.sql(harm)
        ledger = await audit(bench.by("audit"))
        assert not ledger.balanced
        assert fault in ledger.faults

    on_bench(work)


def test_dead_letters_are_replayed_by_reason_and_go_through(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await dead_letters(bench, 3)
        choice = Choice(state=State.DEAD, reason="refused")
        shown = await preview(bench.by("ops"), choice)
        assert (shown["orders"], shown["pharmacies"]) == (3, 1)
        ids = await replay(bench.by("ops"), choice, "the catalogue was wrong")
        assert (len(ids), await left(bench.engine, ids)) == (3, 3)
        await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), await bench.dispatch())
        assert await left(bench.engine, ids) == 0
        assert (await order_queries.counts(bench.engine))["delivered"] == 3
        ((_, act, reason, detail),) = await acts(bench)
        assert (act, reason, detail["orders"], detail["choice"]["reason"]) == (
            "replay",
            "the catalogue was wrong",
            3,
            "refused",
        )

    on_bench(work)


def test_an_act_on_more_orders_than_one_record_lists_is_written_in_several(
    on_bench: OnBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal lets no order go through again that no act of the transaction lists."""
    monkeypatch.setattr(redrive, "LISTED", 2)

    async def work(bench: Bench) -> None:
        await dead_letters(bench, 5)
        ids = await replay(bench.by("ops"), Choice(state=State.DEAD), "a test")
        details = [detail for _, _, _, detail in await acts(bench)]
        assert [detail["orders"] for detail in details] == [2, 2, 1]
        assert [each for detail in details for each in detail["ids"]] == [str(each) for each in ids]

    on_bench(work)


def test_a_discarded_order_is_given_up_for_good(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await dead_letters(bench, 2)
        choice = Choice(state=State.DEAD)
        await bench.sql("UPDATE backends SET circuit = 'open', probe_at = now() + interval '1 hour'")
        before = (await bench.standing())["probe_at"]
        assert len(await discard(bench.by("ops"), choice, "ordered elsewhere")) == 2
        assert len(await replay(bench.by("ops"), choice, "a test")) == 0
        assert (await bench.standing())["probe_at"] == before, "no canary for what nobody put through again"
        assert (await order_queries.counts(bench.engine))["discarded"] == 2
        assert (await audit(bench.by("audit"))).balanced

    on_bench(work)


def test_a_replay_makes_the_backlog_due_and_sends_the_canary_now(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await bench.accept(10)
        await deliver(bench.resources(Scripted(always(Kind.TRANSIENT))), await bench.dispatch())
        await bench.sql("UPDATE deliveries SET due_at = now() + interval '1 hour'")
        await bench.sql("UPDATE backends SET probe_at = now() + interval '1 hour'")
        assert await replay(bench.by("ops"), Choice(pharmacy="nobody"), "a test") == []
        assert len(await replay(bench.by("ops"), Choice(), "the ERP is back")) == 10
        standing = await bench.standing()
        rows = await bench.run(text("SELECT count(*) FROM deliveries WHERE due_at <= now()"))
        assert rows[0][0] == 10
        assert standing["probe_at"] is not None
        rows = await bench.run(text("SELECT probe_at <= now() FROM backends"))
        assert rows[0][0] is True

    on_bench(work)


def test_pause_and_resume_stop_and_restart_forwarding(on_bench: OnBench, settings: Settings) -> None:
    async def work(bench: Bench) -> None:
        with pytest.raises(NotFound):
            await operations.pause(bench.by("ops"), settings, "elsewhere", "why")
        await operations.pause(bench.by("ops"), settings, settings.erp.backend, "inventory")
        await bench.accept(2)
        assert await bench.dispatch() == []
        assert (await bench.standing())["held_why"] == "inventory"
        await operations.resume(bench.by("ops"), settings, settings.erp.backend, "a test")
        assert len(await bench.dispatch()) == 2
        assert [act for _, act, _, _ in await acts(bench)] == ["pause", "resume"]

    on_bench(work)
