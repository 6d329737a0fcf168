"""Claim, validate, submit, settle against the real journal; the ERP is scripted behind its port."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from orders.journal import transactional
from orders.queries import orders as order_queries
from orders.rules.catalogue import Product
from tests.bench import MEDICINE, Bench, OnBench, Scripted, always, outcome
from workers import backend_transitions
from workers.backend_transitions import HALF_OPEN, REGISTER
from workers.delivery.claim import claim
from workers.delivery.deliver import deliver
from workers.delivery.judgement import Result
from workers.delivery.poll import poll
from workers.delivery.settle import settle
from workers.erp.port import Kind


def test_an_order_goes_from_accepted_to_delivered_with_its_receipt(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        assert await bench.dispatch() == [order_id]
        settled = await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), [order_id])
        assert (str(settled), settled.failed) == ("1 delivered", False)
        life = await order_queries.order(bench.engine, order_id)
        assert (life["state"], life["attempts"], life["receipt"]["reference"]) == ("delivered", 1, f"ERP-{order_id}")
        nothing = {"reason": None, "substitute": None, "back_ordered": 0, "expected": None}
        assert life["receipt"]["lines"] == [{"line": 1, "product": MEDICINE, "accepted": 1, **nothing}]
        assert [tried["outcome"] for tried in life["history"]] == ["accepted"]

    on_bench(work)


def test_nothing_is_claimed_that_was_not_dispatched_or_twice(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        erp = Scripted(always(Kind.ACCEPTED))
        (forged,) = await bench.accept()
        assert str(await deliver(bench.resources(erp), [forged])) == "0 delivered, 1 elsewhere", (
            "a message that somebody forged"
        )
        await bench.dispatch()
        found = await asyncio.gather(*(deliver(bench.resources(erp), [forged]) for _ in range(5)))
        assert (sorted(each.claimed for each in found), erp.sent) == ([0, 0, 0, 0, 1], [forged])

    on_bench(work)


GATES = {"paused = true": "paused", "quarantined = true": "in quarantine", "circuit = 'open'": "down"}


@pytest.mark.parametrize("gate", GATES)
def test_the_claim_itself_honours_pause_quarantine_and_circuit(on_bench: OnBench, gate: str) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        await bench.dispatch()
        await bench.sql(f"UPDATE backends SET {gate}")
        erp = Scripted(always(Kind.ACCEPTED))
        told = await deliver(bench.resources(erp), [order_id])
        assert (str(told), told.failed) == (f"0 delivered, 1 held: erp is {GATES[gate]}", True)
        assert erp.sent == []
        assert len(await bench.accept(3)) == 3, "intake goes on"
        assert await bench.dispatch() == []

    on_bench(work)


def test_urgent_first_then_the_nearest_cut_off_then_the_oldest(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (old,) = await bench.accept()
        (young,) = await bench.accept()
        (later,) = await bench.accept(cut_off="2027-01-01T12:00:00Z")
        (sooner,) = await bench.accept(cut_off="2027-01-01T06:00:00Z")
        (urgent,) = await bench.accept(priority="urgent")
        await bench.run(REGISTER, window=50)
        turns = []
        for _ in range(5):
            out = "SELECT count(*) FROM deliveries WHERE state = 'dispatched'"
            await bench.sql(f'UPDATE backends SET "window" = 1 + ({out})')
            turns += await bench.dispatch()
        assert turns == [urgent, sooner, later, old, young]

    on_bench(work)


def test_the_window_bounds_what_is_out(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await bench.accept(120)
        assert len(await bench.dispatch()) == 50
        assert len(await bench.dispatch()) == 0

    on_bench(work)


def test_an_outage_opens_the_circuit_and_costs_no_attempt(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        ids = await bench.accept(20)
        erp = Scripted(always(Kind.TRANSIENT))
        await deliver(bench.resources(erp), await bench.dispatch())
        assert (await bench.standing())["circuit"] == "open"
        for _ in range(12):  # twelve canaries, more than an order may have attempts
            await bench.sql("UPDATE backends SET probe_at = now()")
            await bench.now_due()
            await bench.run(HALF_OPEN)
            canary = await bench.dispatch()
            assert len(canary) == 1
            await deliver(bench.resources(erp), canary)
            assert (await bench.standing())["circuit"] == "open"
        lives = [await order_queries.order(bench.engine, order_id) for order_id in ids]
        assert {(life["state"], life["attempts"]) for life in lives} == {("accepted", 0)}

    on_bench(work)


def test_an_outage_is_one_thing_from_the_first_failure_to_the_first_answer(on_bench: OnBench) -> None:
    async def tried(bench: Bench, which: str) -> tuple[datetime, datetime, int]:
        rows = await bench.run(text(f"SELECT min(ended_at), max(ended_at), count(*) FROM attempts WHERE {which}"))
        return tuple(rows[0])

    async def outages(bench: Bench) -> list[tuple[Any, ...]]:
        told = "backend, began_at, failed_at, failures, ended_at, why ->> 'code'"
        return [tuple(row) for row in await bench.run(text(f"SELECT {told} FROM outages ORDER BY id"))]

    async def canary(bench: Bench, kind: Kind) -> None:
        await bench.sql("UPDATE backends SET probe_at = now()")
        await bench.now_due()
        await bench.run(HALF_OPEN)
        await deliver(bench.resources(Scripted(always(kind))), await bench.dispatch())

    async def work(bench: Bench) -> None:
        await bench.accept(20)
        one, *others = await bench.dispatch()
        await deliver(bench.resources(Scripted(always(Kind.TRANSIENT))), [one])
        row = await bench.standing()
        assert (row["circuit"], row["failures"], await outages(bench)) == ("closed", 1, []), "no outage as yet"
        began, *_ = await tried(bench, "true")
        await deliver(bench.resources(Scripted(always(Kind.TRANSIENT))), others)
        for _ in range(3):
            await canary(bench, Kind.TRANSIENT)
            row, failed = await bench.standing(), await tried(bench, "true")
            assert (row["circuit"], row["since"], row["failures"]) == ("open", began, failed[2])
            assert await outages(bench) == [("erp", *failed, None, "met")]
        assert failed[2] == 23
        await canary(bench, Kind.ACCEPTED)
        answered, *_ = await tried(bench, "outcome = 'accepted'")
        assert await outages(bench) == [("erp", *failed, answered, "met")]
        row = await bench.standing()
        assert (row["circuit"], row["failures"], row["failing_since"]) == ("closed", 0, None)

    on_bench(work)


def test_a_release_in_the_middle_of_an_outage_does_not_end_it(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await bench.accept(20)
        await deliver(bench.resources(Scripted(always(Kind.TRANSIENT))), await bench.dispatch())
        before = await bench.standing()
        async with transactional(bench.owner).begin() as connection:
            await backend_transitions.quarantine(connection, "erp", "luc", None)
            await backend_transitions.release(connection, "erp", "luc", "restored", {})
        after = await bench.standing()
        assert (after["circuit"], after["since"], after["failures"]) == ("open", before["since"], 20)

    on_bench(work)


def test_what_came_of_a_dispatch_is_told_without_an_erps_words(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await bench.accept(12)
        kinds = [Kind.ACCEPTED, Kind.PENDING, Kind.REFUSED, Kind.TRANSIENT]
        mixed = Scripted(lambda order_id: kinds[mixed.sent.index(order_id) % 4])
        told = await deliver(bench.resources(mixed), await bench.dispatch())
        assert str(told) == "3 delivered, 3 submitted, 3 dead, 3 held: refused"
        assert not told.failed
        await bench.accept(7)
        told = await deliver(bench.resources(Scripted(always(Kind.REFUSED))), await bench.dispatch())
        assert (str(told), told.failed) == ("0 delivered, 7 dead: refused", True)

    on_bench(work)


def test_the_canary_opens_the_way_and_the_window_doubles(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await bench.accept(40)
        await deliver(bench.resources(Scripted(always(Kind.TRANSIENT))), await bench.dispatch())
        await bench.sql("UPDATE backends SET probe_at = now()")
        await bench.now_due()
        await bench.run(HALF_OPEN)
        sizes = []
        while dispatched := await bench.dispatch():
            sizes.append(len(dispatched))
            await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), dispatched)
        assert sizes == [1, 2, 4, 8, 16, 9]

    on_bench(work)


def test_the_canary_that_failed_leaves_the_next_turn_to_another(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await bench.accept(2)
        erp = Scripted(always(Kind.TRANSIENT))
        await bench.run(REGISTER, window=50)
        await bench.sql("UPDATE backends SET circuit = 'open', trips = 1, probe_at = now()")
        canaries = []
        for _ in range(2):
            await bench.run(HALF_OPEN)
            canaries += await bench.dispatch()
            await deliver(bench.resources(erp), canaries[-1:])
            await bench.sql("UPDATE backends SET probe_at = now()")
        assert len(set(canaries)) == 2

    on_bench(work)


def test_only_an_order_that_fails_while_others_succeed_dies(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (poison,) = await bench.accept()
        erp = Scripted(lambda order_id: Kind.TRANSIENT if order_id == poison else Kind.ACCEPTED)
        rounds = 0
        while (life := await order_queries.order(bench.engine, poison))["state"] != "dead":
            rounds += 1
            assert rounds < 5 * bench.settings.delivery.max_attempts
            await bench.accept(12)
            await bench.now_due()
            await deliver(bench.resources(erp), await bench.dispatch())
        assert rounds > bench.settings.delivery.max_attempts, "the first failure is free"
        assert (life["attempts"], life["reason"], life["error"]) == (8, "exhausted", "transient!")
        assert (await order_queries.counts(bench.engine))["dead"] == 1

    on_bench(work)


def test_an_order_that_always_fails_alone_is_found_out_by_those_that_succeed_between(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (poison,) = await bench.accept()
        counted = []
        for _ in range(3):
            await bench.now_due()
            await deliver(bench.resources(Scripted(always(Kind.TRANSIENT))), await bench.dispatch())
            counted.append((await order_queries.order(bench.engine, poison))["attempts"])
            await bench.accept()
            await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), await bench.dispatch())
        assert counted == [0, 1, 2]

    on_bench(work)


def test_a_batch_that_went_well_and_is_settled_late_does_not_make_the_outage_count(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        ids = await bench.accept(2)
        await bench.dispatch()
        unlucky, lucky = [await claim(bench.worker, [order_id], bench.settings) for order_id in ids]
        assert unlucky is not None
        assert lucky is not None
        answered, failed = outcome(Kind.ACCEPTED), outcome(Kind.TRANSIENT)
        for taken, met in ((unlucky, failed), (lucky, answered)):  # settled in the other order
            (order,) = taken.orders
            result = Result(taken.lease, taken.at, 0, {order.id: (1, None)}, {}, {order.id: met})
            await settle(bench.worker, result, bench.settings, "w")
        await bench.now_due()
        await deliver(bench.resources(Scripted(always(Kind.TRANSIENT))), await bench.dispatch())
        assert (await order_queries.order(bench.engine, ids[0]))["attempts"] == 0

    on_bench(work)


def test_unfit_orders_are_dead_letters_with_all_reasons_and_never_forwarded(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        wrong = [
            {"product": "3400930000007", "quantity": 1},
            {"product": MEDICINE, "quantity": 11},
        ]
        (invalid,) = await bench.accept(lines=wrong)
        (expired,) = await bench.accept(valid_until="2024-10-19T12:00:00Z")
        (good,) = await bench.accept()
        erp = Scripted(always(Kind.ACCEPTED))
        resources = bench.resources(
            erp,
            catalogue={MEDICINE: Product(MEDICINE, "a medicine", max_quantity=10)},
            register=frozenset({"990000002"}),
        )
        await deliver(resources, await bench.dispatch())
        assert erp.sent == [good]
        life = await order_queries.order(bench.engine, invalid)
        assert (life["state"], life["reason"], life["attempts"], life["history"]) == ("dead", "invalid", 0, [])
        for field in ("lines.1.product", "lines.2.quantity"):
            assert field in life["error"]
        assert (await order_queries.order(bench.engine, expired))["reason"] == "expired"

    on_bench(work)


def test_what_may_be_with_the_erp_is_asked_for_before_it_is_sent_again(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        await deliver(bench.resources(Scripted(always(Kind.UNKNOWN))), await bench.dispatch())
        await bench.now_due()
        knows = Scripted(always(Kind.ACCEPTED), found=Kind.ACCEPTED)
        knows.receipt = await bench.receipt(order_id)
        await deliver(bench.resources(knows), await bench.dispatch())
        assert (knows.asked, knows.sent) == ([order_id], [])
        assert (await order_queries.order(bench.engine, order_id))["state"] == "delivered"

    on_bench(work)


def test_a_receipt_for_other_bytes_is_not_believed(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        await deliver(bench.resources(Scripted(always(Kind.UNKNOWN))), await bench.dispatch())
        await bench.now_due()
        liar = Scripted(always(Kind.ACCEPTED), found=Kind.ACCEPTED)
        await deliver(bench.resources(liar), await bench.dispatch())
        life = await order_queries.order(bench.engine, order_id)
        assert (life["state"], life["receipt"], life["history"][-1]["outcome"]) == ("accepted", None, "suspicious")
        assert (await bench.standing())["circuit"] == "open"

    on_bench(work)


@pytest.mark.parametrize("may", [True, False])
def test_a_substitute_that_a_find_tells_of_is_believed_where_the_backend_may_deliver_one(
    on_bench: OnBench, may: bool
) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        await deliver(bench.resources(Scripted(always(Kind.UNKNOWN))), await bench.dispatch())
        await bench.now_due()
        knows = Scripted(always(Kind.ACCEPTED), found=Kind.ACCEPTED)
        told = await bench.receipt(order_id)
        line = replace(told.lines[0], accepted=0, substitute="3400938615470", back_ordered=1, expected=date(2026, 1, 7))
        knows.receipt = replace(told, lines=(line,))
        under = bench.under(bench.settings.replace(erp_allow_substitution=may))
        await deliver(under.resources(knows), await bench.dispatch())
        life = await order_queries.order(bench.engine, order_id)
        assert (await bench.standing())["quarantined"] is not may
        if not may:
            assert (life["state"], life["receipt"], life["history"][-1]["outcome"]) == ("accepted", None, "suspicious")
            return
        more = {"reason": None, "substitute": "3400938615470", "back_ordered": 1, "expected": "2026-01-07"}
        assert life["receipt"]["lines"] == [{"line": 1, "product": MEDICINE, "accepted": 0, **more}]

    on_bench(work)


def test_a_worker_that_died_is_rescued_and_its_ghost_changes_nothing(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        await bench.dispatch()
        ghost = await claim(bench.worker, [order_id], bench.settings)
        assert ghost is not None
        assert await bench.rescue() == {}, "its lease still holds"
        await bench.sql("UPDATE deliveries SET lease_until = now() - interval '1 second'")
        assert await bench.rescue() == {"delivering": 1}
        heir = Scripted(always(Kind.ACCEPTED))
        await deliver(bench.resources(heir), await bench.dispatch())
        assert (heir.asked, heir.sent) == ([order_id], [order_id]), "it asked first: the ghost may have sent it"

        late = Result(ghost.lease, ghost.at, 0, {order_id: (1, None)}, {}, {order_id: outcome(Kind.REFUSED)})
        await settle(bench.worker, late, bench.settings, "ghost")
        life = await order_queries.order(bench.engine, order_id)
        assert (life["state"], life["reason"]) == ("delivered", None)
        assert sorted(tried["outcome"] for tried in life["history"]) == ["accepted", "lease_expired", "refused"]

    on_bench(work)


def test_settling_twice_writes_nothing_twice(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        await bench.dispatch()
        taken = await claim(bench.worker, [order_id], bench.settings)
        assert taken is not None
        result = Result(taken.lease, taken.at, 0, {order_id: (1, None)}, {}, {order_id: outcome(Kind.ACCEPTED)})
        await settle(bench.worker, result, bench.settings, "w")
        await settle(bench.worker, result, bench.settings, "w")
        assert len((await order_queries.order(bench.engine, order_id))["history"]) == 1

    on_bench(work)


def test_a_dispatch_that_nobody_claims_goes_out_again(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        await bench.dispatch()
        await bench.sql("UPDATE deliveries SET lease_until = now() - interval '1 second'")
        assert await bench.rescue(grace=55) == {}, "its message still waits in Redis"
        assert await bench.rescue() == {"dispatched": 1}
        assert await bench.dispatch() == [order_id]
        assert (await order_queries.order(bench.engine, order_id))["attempts"] == 0

    on_bench(work)


def test_an_order_that_keeps_killing_its_worker_becomes_a_dead_letter(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        for _ in range(bench.settings.delivery.max_attempts):
            assert await bench.dispatch() == [order_id]
            await claim(bench.worker, [order_id], bench.settings)
            await bench.sql("UPDATE deliveries SET lease_until = now() - interval '1 second'")
            await bench.rescue()
        life = await order_queries.order(bench.engine, order_id)
        assert (life["state"], life["reason"]) == ("dead", "exhausted")

    on_bench(work)


def test_workers_that_die_in_an_outage_cost_an_order_no_attempt(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()

        async def dies() -> int:
            await bench.now_due()
            await bench.dispatch()
            await claim(bench.worker, [order_id], bench.settings)
            await bench.sql("UPDATE deliveries SET lease_until = now() - interval '1 second'")
            await bench.rescue()
            return int((await order_queries.order(bench.engine, order_id))["attempts"])

        assert await dies() == 1, "it may have been the order"
        await bench.now_due()
        await deliver(bench.resources(Scripted(always(Kind.TRANSIENT))), await bench.dispatch())
        assert [await dies() for _ in range(bench.settings.delivery.max_attempts)] == [1] * 8, "it was not"
        (other,) = await bench.accept()
        await bench.dispatch()
        await deliver(bench.resources(Scripted(always(Kind.ACCEPTED))), [other])
        assert await dies() == 2, "others have succeeded since"

    on_bench(work)


@pytest.mark.parametrize(
    ("decision", "state"),
    [
        (Kind.ACCEPTED, "delivered"),
        (Kind.REFUSED, "dead"),
        (Kind.PENDING, "submitted"),
        (Kind.UNKNOWN, "submitted"),
        (Kind.ABSENT, "accepted"),
    ],
)
def test_an_order_accepted_later_is_polled(on_bench: OnBench, decision: Kind, state: str) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        await deliver(bench.resources(Scripted(always(Kind.PENDING))), await bench.dispatch())
        assert (await order_queries.order(bench.engine, order_id))["state"] == "submitted"
        erp = Scripted(always(Kind.ACCEPTED), found=decision)
        erp.receipt = await bench.receipt(order_id)
        told = await poll(bench.resources(erp), [order_id])
        assert told.failed == (decision in (Kind.REFUSED, Kind.UNKNOWN, Kind.ABSENT)), str(told)
        assert bool(told.unanswered) == (decision is Kind.UNKNOWN)
        life = await order_queries.order(bench.engine, order_id)
        assert life["state"] == state
        assert (life["receipt"] is not None) == (state == "delivered")
        assert life["due_at"] > datetime.now(UTC) - timedelta(seconds=30)

    on_bench(work)
