"""Evidence latches: in the transaction that settles it, against whatever is in flight, and until it is released."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from config.settings import Settings
from orders.access import receipt_keys
from orders.journal import transactional
from orders.queries import evidence as evidence_queries
from orders.queries import orders as order_queries
from tests.bench import Bench, OnBench, Scripted, always, named
from tests.machines.tls import tls
from tests.waiting import auntil
from workers.delivery.claim import Claim, claim
from workers.delivery.deliver import WorkerResources, deliver
from workers.delivery.judgement import Result
from workers.delivery.poll import poll
from workers.delivery.settle import settle
from workers.erp.http import HttpErp
from workers.erp.port import ErpReceipt, ErpReceiptLine, Evidence, Kind, Outcome
from workers.erp.sim import Dial, Simulator
from workers.erp.sim.telling import Signer
from workers.trust import barrier, life
from workers.trust.barrier import ProcessBarrier, halted
from workers.trust.key_cache import ReceiptKeyCache
from workers.trust.life import ProcessLife
from workers.trust.quarantine import quarantine, release

PRODUCT = "3400937318044"


def told(kind: Kind, order_id: UUID, after: float = 0.0, **more: Any) -> Outcome:
    """An outcome that was answered so many seconds from now."""
    ended = datetime.now(UTC) + timedelta(seconds=after)
    receipt = None
    if kind is Kind.ACCEPTED:
        receipt = named(ErpReceipt("", None, (ErpReceiptLine(1, PRODUCT, 1),)), order_id)
    return replace(Outcome(kind, f"{kind}!", 200, receipt, started=ended, ended=ended, answer=b"{}"), **more)


def lie(order_id: UUID, kind: Evidence = Evidence.WRONG_DIGEST) -> Outcome:
    return told(Kind.SUSPICIOUS, order_id, evidence=kind, answer=b"a lie")


async def claimed(bench: Bench, count: int) -> Claim:
    await bench.accept(count)
    taken = await claim(bench.worker, await bench.dispatch(), bench.settings)
    assert taken is not None
    assert len(taken.orders) == count
    return taken


def result(taken: Claim, outcomes: Sequence[Outcome]) -> Result:
    ids = [order.id for order in taken.orders]
    before = {order.id: (order.attempts, order.failed_at) for order in taken.orders}
    return Result(taken.lease, taken.at, 0, before, {}, dict(zip(ids, outcomes, strict=True)))


async def settled(bench: Bench, taken: Claim, outcomes: Sequence[Outcome]) -> None:
    await settle(bench.worker, result(taken, outcomes), bench.settings, "w")


async def against(bench: Bench) -> list[tuple[str, UUID | None]]:
    return [(row["kind"], row["order_id"]) for row in await evidence_queries.listed(bench.engine)]


def test_the_first_proof_quarantines_and_what_was_answered_after_it_is_unknown(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        taken = await claimed(bench, 4)
        early, liar, late, refused = (order.id for order in taken.orders)
        outcomes = [
            told(Kind.ACCEPTED, early, -1),
            lie(liar),
            told(Kind.ACCEPTED, late, 1),
            told(Kind.REFUSED, refused, 1),
        ]
        for _ in range(2):  # the answer to the first commit may be lost
            await settled(bench, taken, outcomes)
        row = await bench.standing()
        assert (row["quarantined"], row["quarantined_by"], row["evidence"]) == (True, "relais", 3)
        assert row["held_why"] == f"wrong_digest, order {liar}: suspicious!"
        assert await against(bench) == [
            ("wrong_digest", liar),
            ("answer_in_quarantine", late),
            ("answer_in_quarantine", refused),
        ]
        lives = {i: await order_queries.order(bench.engine, i) for i in (early, liar, late, refused)}
        assert {i: life["state"] for i, life in lives.items()} == {
            early: "delivered",
            liar: "accepted",
            late: "accepted",
            refused: "accepted",
        }
        assert {i: life["attempts"] for i, life in lives.items()} == {early: 1, liar: 0, late: 0, refused: 0}
        assert [lives[late]["receipt"], lives[late]["history"][0]["outcome"]] == [None, "unknown"]
        unsure = await bench.run(text("SELECT count(*) FROM deliveries WHERE unsure AND state = 'accepted'"))
        assert unsure[0][0] == 3

    on_bench(work)


def test_answers_of_batches_that_were_under_way_are_unknown_and_kept(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        taken, other = await claimed(bench, 1), await claimed(bench, 2)
        await settled(bench, taken, [lie(taken.orders[0].id)])
        await settled(bench, other, [told(Kind.ACCEPTED, order.id) for order in other.orders])
        assert (await order_queries.counts(bench.engine))["accepted"] == 3
        kept = (await evidence_queries.listed(bench.engine))[1:]
        assert {(row["kind"], row["conclusive"], row["answer"]) for row in kept} == {
            ("answer_in_quarantine", False, "{}")
        }
        assert len(await bench.accept(2)) == 2, "intake goes on"
        assert await bench.dispatch() == []

    on_bench(work)


def test_a_quarantine_that_comes_between_reading_and_writing_is_noticed(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        taken = await claimed(bench, 1)
        async with transactional(bench.owner).begin() as connection:
            await connection.execute(text("UPDATE backends SET quarantined = true"))
            settling = asyncio.create_task(settled(bench, taken, [told(Kind.ACCEPTED, taken.orders[0].id)]))
            waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            await auntil(lambda: bench.run(text(waits)), what="it waits for the backend's row")
        await settling
        assert (await order_queries.counts(bench.engine))["delivered"] == 0
        assert await against(bench) == [("answer_in_quarantine", taken.orders[0].id)]

    on_bench(work)


def test_two_proofs_at_once_are_both_kept_and_the_first_one_counts(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        batches = [await claimed(bench, 1) for _ in range(4)]
        await asyncio.gather(*(settled(bench, taken, [lie(taken.orders[0].id)]) for taken in batches))
        assert sorted(await against(bench)) == sorted(("wrong_digest", taken.orders[0].id) for taken in batches)

    on_bench(work)


@pytest.mark.parametrize("answer", [Kind.ACCEPTED, Kind.ABSENT, Kind.REFUSED])
def test_polls_claim_nothing_in_quarantine_and_late_answers_decide_nothing(on_bench: OnBench, answer: Kind) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        await deliver(bench.resources(Scripted(always(Kind.PENDING))), await bench.dispatch())

        class Slow(Scripted):
            async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
                await quarantine(bench.engine, bench.settings, "erp", "an intrusion")
                return await self.find(ids, budget=budget)

        erp = Slow(always(Kind.ACCEPTED), found=answer)
        erp.receipt = await bench.receipt(order_id)
        await poll(bench.resources(erp), [order_id])
        assert (await order_queries.order(bench.engine, order_id))["state"] == "submitted"
        asked = len(erp.asked)
        assert str(await poll(bench.resources(erp), [order_id])) == "0 delivered, 1 elsewhere"
        assert len(erp.asked) == asked == 1

    on_bench(work)


def test_a_poll_that_is_answered_with_a_lie_latches(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        await deliver(bench.resources(Scripted(always(Kind.PENDING))), await bench.dispatch())
        liar = Scripted(always(Kind.ACCEPTED), found=Kind.ACCEPTED)  # its receipt is for other bytes
        await poll(bench.resources(liar), [order_id])
        assert await against(bench) == [("wrong_digest", order_id)]
        assert (await bench.standing())["quarantined"]
        assert (await order_queries.order(bench.engine, order_id))["state"] == "submitted"

    on_bench(work)


@pytest.mark.parametrize("how", ["later", "at once", "in one batch"])
def test_a_reference_of_another_order_latches(on_bench: OnBench, how: str) -> None:
    async def work(bench: Bench) -> None:
        same = ErpReceipt("SAME", None, (ErpReceiptLine(1, PRODUCT, 1),))
        if how == "in one batch":
            batches = [await claimed(bench, 2)]
        else:
            batches = [await claimed(bench, 1), await claimed(bench, 1)]
        works = [settled(bench, t, [told(Kind.ACCEPTED, o.id, receipt=same) for o in t.orders]) for t in batches]
        if how == "at once":
            await asyncio.gather(*works)
        else:
            for each in works:
                await each
        assert {kind for kind, _ in await against(bench)} == {"reference_reused"}
        assert (await bench.standing())["quarantined"]
        assert (await order_queries.counts(bench.engine))["delivered"] == (0 if how == "in one batch" else 1)

    on_bench(work)


def test_a_reference_that_is_void_or_may_be_reused_is_no_evidence(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        first, second, third = [await claimed(bench, 1) for _ in range(3)]
        one = ErpReceipt("ONE", None, (ErpReceiptLine(1, PRODUCT, 1),))
        await settled(bench, first, [told(Kind.ACCEPTED, first.orders[0].id, receipt=one)])
        await bench.sql("UPDATE deliveries SET state = 'accepted' WHERE state = 'delivered'")  # it is sent again
        await settled(bench, second, [told(Kind.ACCEPTED, second.orders[0].id, receipt=one)])
        assert await against(bench) == []
        lax = bench.settings.replace(erp_reuses_references=True)
        again = result(third, [told(Kind.ACCEPTED, third.orders[0].id, receipt=one)])
        await settle(bench.worker, again, lax, "w")
        assert (await against(bench), (await order_queries.counts(bench.engine))["delivered"]) == ([], 2)

    on_bench(work)


def test_many_refusals_are_odd_and_no_proof(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        for kind in (Kind.ACCEPTED, Kind.REFUSED):
            taken = await claimed(bench, 30)
            await settled(bench, taken, [told(kind, order.id) for order in taken.orders])
        assert await against(bench) == [("refusals", None)]
        row = await bench.standing()
        assert (row["quarantined"], row["circuit"], row["latency"]) == (False, "closed", 0.0)
        assert 0 < row["refusing"] < 1

    on_bench(work)


def test_html_and_other_garbage_opens_the_circuit_and_is_no_proof(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        taken = await claimed(bench, 1)
        await settled(bench, taken, [told(Kind.SUSPICIOUS, taken.orders[0].id)])
        row = await bench.standing()
        assert (row["quarantined"], row["circuit"], row["evidence"]) == (False, "open", 0)

    on_bench(work)


def test_another_certificate_latches_before_anything_is_sent(on_bench: OnBench, tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.accept(20)
        async with tls(tmp_path) as (url, _, received):
            pinned = bench.settings.replace(erp_url=url, erp_pin="f" * 64)
            erp = HttpErp(
                pinned, ReceiptKeyCache(bench.engine, "erp"), ProcessBarrier(pinned.need("database_url"), "erp")
            )
            await deliver(WorkerResources(bench.worker, erp, pinned, "w"), await bench.dispatch())
            await erp.close()
        assert received == []
        assert (await bench.standing())["held_why"].startswith("wrong_certificate")
        assert {kind for kind, _ in await against(bench)} == {"wrong_certificate"}
        assert (await order_queries.counts(bench.engine))["accepted"] == 20

    on_bench(work)


def test_while_the_journal_cannot_be_asked_for_the_gate_nothing_is_sent_and_nothing_spins(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async with Simulator("127.0.0.1", 0, bench.settings.files.data_dir / "erp.jsonl", Dial()) as sim:
            bench.settings = bench.settings.replace(erp_url=sim.url)
            erp = HttpErp(bench.settings, None, ProcessBarrier("postgresql://127.0.0.1:1/nowhere", "erp"))
            (order_id,) = await bench.accept()
            began = datetime.now(UTC)
            await deliver(WorkerResources(bench.worker, erp, bench.settings, "w"), await bench.dispatch())
            assert sim.conduct.book.ids == []
        life = await order_queries.order(bench.engine, order_id)
        assert (life["state"], life["attempts"], life["history"]) == ("accepted", 0, [])
        assert life["due_at"] >= began + timedelta(seconds=1), "it goes again in a second"

    on_bench(work)


def test_a_gate_is_shut_everywhere_before_a_quarantine_is_committed(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        url = bench.settings.need("database_url")
        ours, theirs, another = (ProcessBarrier(url, name) for name in ("erp", "erp", "fallback"))
        await bench.dispatch()  # registers the backend
        assert [await each.open() for each in (ours, theirs, another)] == [True] * 3
        async with halted(bench.engine, "erp") as connection:
            assert (ours.is_open(), theirs.is_open(), another.is_open()) == (False, False, True)
            assert not await ours.open(), "while it is being decided"
            await connection.execute(text("SELECT relais_quarantine('erp', 'relais', NULL)"))
        assert not await theirs.open(), "nor afterwards"
        await release(bench.by("ops"), "erp", "all is well")
        assert await ours.open()
        await bench.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'relais barrier'"
        )
        await auntil(lambda: not ours.is_open(), what="who has lost the journal may not send")
        for each in (ours, theirs, another):
            each.shut()

    on_bench(work)


def test_a_process_that_cannot_show_that_it_lives_sends_nothing(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        url = bench.settings.need("database_url")
        await bench.dispatch()  # registers the backend
        life = ProcessLife(url)
        gate = ProcessBarrier(url, "erp", life)
        assert not await gate.open(), "it has no number yet"
        lease = await life.lease()
        assert await gate.open()
        assert [f"{number:08x}" for (number,) in await bench.run(text("SELECT number FROM processes"))] == [
            str(lease)[:8]
        ]
        await life.end()
        await auntil(lambda: not gate.is_open(), what="nothing was heard of its session for too long")
        assert await bench.run(text("SELECT number FROM processes")) == []
        gate.shut()

    on_bench(work)


class Dying:
    """A session whose server is killed while it is asked, as asyncpg tells it now and then."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.fetchval, self.terminate = self._fetchval, connection.terminate
        self._connection = connection

    async def _fetchval(self, query: str, *values: object) -> object:
        if query == life.KNOWN:
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")
        return await self._connection.fetchval(query, *values)


def test_a_process_is_seen_again_whatever_its_session_ended_of(
    on_bench: OnBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found nothing to send with for ever, while its worker answered every canary."""
    reach, sessions = life.reach, 0

    async def first_dies(url: str, **options: Any) -> Any:
        nonlocal sessions
        sessions += 1
        connection = await reach(url, **options)
        return Dying(connection) if sessions == 1 else connection

    async def work(bench: Bench) -> None:
        process = ProcessLife(bench.settings.need("database_url"))
        lease = await process.lease()
        assert sessions == 2
        assert [f"{number:08x}" for (number,) in await bench.run(text("SELECT number FROM processes"))] == [
            str(lease)[:8]
        ], "it has the number that it had"
        await process.end()

    monkeypatch.setattr(life, "reach", first_dies)
    monkeypatch.setattr(life, "HELD", 30.0)  # seconds, in which a busy machine does all that
    on_bench(work)


def test_a_process_that_was_frozen_sends_nothing_before_it_has_asked(
    on_bench: OnBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(bench: Bench) -> None:
        await bench.dispatch()
        gate = ProcessBarrier(bench.settings.need("database_url"), "erp")
        assert await gate.open()
        began = time.monotonic()
        await auntil(lambda: gate._beaten > began + barrier.BEAT, what="it beats on")
        assert gate.is_open()
        monkeypatch.setattr(barrier.time, "monotonic", lambda now=time.monotonic: now() + barrier.FROZEN)
        assert not gate.is_open()
        assert await gate.open(), "it has asked"
        assert gate.is_open()
        gate.shut()

    on_bench(work)


def test_a_process_that_does_not_answer_is_not_waited_for_for_ever(
    on_bench: OnBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barrier, "LONGEST_WAIT", 0.3)

    async def work(bench: Bench) -> None:
        await bench.dispatch()
        async with bench.owner.connect() as frozen:
            await frozen.execute(text(f"SELECT pg_advisory_lock_shared({barrier.HOLD_LOCK}, hashtext('erp'))"))
            await quarantine(bench.engine, bench.settings, "erp", "an intrusion")
        assert (await bench.standing())["quarantined"]

    on_bench(work)


def test_a_quarantine_stops_the_rest_of_a_batch_that_is_under_way(on_bench: OnBench, settings: Settings) -> None:
    """An operator's word, while a worker has 200 orders in hand: those in flight are unknown, the rest unsent."""

    async def work(bench: Bench) -> None:
        slow = settings.replace(erp_concurrency=2, window_max=500)
        file = settings.files.data_dir / "erp.jsonl"
        async with Simulator("127.0.0.1", 0, file, Dial(latency_ms=100)) as sim:
            bench.settings = slow.replace(erp_url=sim.url)
            gate = ProcessBarrier(settings.need("database_url"), "erp")
            erp = HttpErp(bench.settings, ReceiptKeyCache(bench.engine, "erp"), gate)
            await bench.accept(40)
            resources = WorkerResources(bench.worker, erp, bench.settings, "w")
            delivering = asyncio.create_task(deliver(resources, await bench.dispatch()))
            await auntil(lambda: len(sim.conduct.book.ids) >= 4)
            await quarantine(bench.engine, bench.settings, "erp", "an intrusion")
            reached = len(sim.conduct.book.ids)
            assert (await delivering).claimed == 40
            assert len(sim.conduct.book.ids) == reached < 20
            counts = await order_queries.counts(bench.engine)
            assert (counts["delivered"], counts["accepted"]) == (0, 40)
            unsure = await bench.run(text("SELECT count(*) FROM deliveries WHERE unsure"))
            assert unsure[0][0] == reached
            await erp.close()

    on_bench(work)


def test_keys_are_rotated_and_revoked_without_a_restart(on_bench: OnBench, settings: Settings) -> None:
    async def work(bench: Bench) -> None:
        old, new = (Signer(Ed25519PrivateKey.generate(), name) for name in ("old", "new"))
        public = {signer.key_id: signer.private.public_key().public_bytes_raw() for signer in (old, new)}
        await receipt_keys.add(bench.owner, "erp", public["old"], "old")
        ring = ReceiptKeyCache(bench.engine, "erp")

        async def delivered_by(signer: Signer) -> dict[str, Any]:
            file = settings.files.data_dir / "erp.jsonl"  # one ERP, whoever signs
            async with Simulator("127.0.0.1", 0, file, Dial(), signer=signer) as sim:
                bench.settings = settings.replace(erp_url=sim.url, receipts="require")
                erp = HttpErp(bench.settings, ring)
                (order_id,) = await bench.accept()
                await deliver(WorkerResources(bench.worker, erp, bench.settings, "w"), await bench.dispatch())
                await erp.close()
            return await order_queries.order(bench.engine, order_id)

        assert (await delivered_by(old))["receipt"]["key_id"] == "old"
        await receipt_keys.rotate(bench.owner, "erp", public["new"], "new", timedelta(hours=1))
        ring._keys.began -= 1.0  # what was read is a second old
        assert (await delivered_by(new))["receipt"]["key_id"] == "new"
        ring._keys.began -= 10.0
        assert (await delivered_by(old))["receipt"]["key_id"] == "old", "during the overlap both are good"
        await receipt_keys.revoke(bench.owner, "erp", "old", "stolen")
        ring._keys.began -= 10.0
        assert (await delivered_by(old))["state"] == "accepted"
        assert [kind for kind, _ in await against(bench)] == ["unknown_key"]
        listed = await receipt_keys.every(bench.owner)
        assert {row["key_id"]: row["in_force"] for row in listed} == {"old": False, "new": True}

    on_bench(work)
