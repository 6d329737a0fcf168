"""A replay step by step on the real journal: its stages, gates and turns, and the share that live orders keep."""

import asyncio
import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from orders.errors import NotFound, NotSo
from orders.intake.group_commit import Intake
from orders.journal import transactional
from orders.model import parse
from tests.bench import MEDICINE, Bench, OnBench, always
from tests.recovery import Recovery, backlog
from workers import operations
from workers.backend_transitions import REGISTER
from workers.delivery.claim import claim
from workers.delivery.deliver import deliver
from workers.dispatch.scheduler import PLANNER
from workers.dispatch.take_due import DISPATCH
from workers.erp.port import Kind
from workers.replay import commands


async def acts(bench: Bench) -> list[str]:
    return [row[0] for row in await bench.run(text("SELECT act FROM operations ORDER BY id"))]


def test_it_goes_through_its_stages_to_the_end(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await backlog(bench, 300)
        number = await recovery.start(reason="the ERP is back")
        sizes = await recovery.rounds()
        assert sizes[:2] == [1, 10]
        assert sizes[2] < 30, "the third stage is bounded by the window, too"
        assert sum(sizes) == 300
        found = await recovery.stands()
        assert (found["id"], found["state"], found["left"], found["orders"]) == (number, "done", None, 300)
        assert [stage["stage"] for stage in found["history"]] == [1, 10, 100, 0]
        assert len(set(recovery.erp.sent)) == 300
        assert await acts(bench) == ["replay"]

    on_bench(work)


def test_no_stage_sends_more_than_its_size(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await backlog(bench, 300)
        await recovery.start()
        out = await bench.dispatch()
        assert len(out) == 1
        assert await bench.dispatch() == []
        await recovery.steer()
        assert await bench.dispatch() == [], "a stage is passed when its orders are answered, not when they are out"
        await deliver(bench.resources(recovery.erp), out)
        await recovery.steer()
        assert len(await bench.dispatch()) == 10

    on_bench(work)


def test_it_waits_for_a_word_between_stages(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await backlog(bench, 150)
        await recovery.start(hold=True)
        for size in (1, 10, 100):
            assert sum(await recovery.rounds()) == size
            found = await recovery.stands()
            assert (found["state"], found["stage"], found["passed"]) == ("holding", size, size)
            assert f"stage {size} is passed: {size} answered, 0 failed" in found["why"]
            if size < 100:
                await commands.next_stage(bench.by("ops"), "erp", "a test")
        await commands.hold(bench.by("ops"), "erp", False, "a test")
        found = await recovery.stands()
        assert (found["state"], found["stage"], found["hold"], found["why"]) == ("running", 0, False, None)
        assert sum(await recovery.rounds()) == 39
        assert (await recovery.stands())["state"] == "done"
        assert await acts(bench) == ["replay", "replay next", "replay next", "replay hold"]

    on_bench(work)


def test_a_gate_that_fails_holds_says_why_and_rolls_the_window_back(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await backlog(bench, 200)
        await recovery.start()
        assert await recovery.round() == 1
        fails = recovery.erp.answer = lambda order_id: Kind.TRANSIENT if order_id.int % 3 == 0 else Kind.ACCEPTED
        while (await recovery.stands())["state"] == "running":
            assert await recovery.round()
        found = await recovery.stands()
        assert found["state"] == "holding"
        assert "attempts failed, 2% is allowed" in found["why"]
        assert found["history"][-1]["failed"] == found["why"]
        assert (await bench.standing())["window"] <= max(1, found["passed"])
        before = len(recovery.erp.sent)
        assert await recovery.rounds() == [], "while it holds nothing of it is sent"
        live = await bench.accept(3)
        await recovery.rounds()
        assert set(recovery.erp.sent[before:]) == set(live), "live orders go on"
        with pytest.raises(NotSo, match="`relais replay resume` tries again"):
            await commands.next_stage(bench.by("ops"), "erp", "a test")
        assert fails is recovery.erp.answer
        recovery.erp.answer = always(Kind.ACCEPTED)
        await commands.resume(bench.by("ops"), "erp", "the disk was full")
        again = await recovery.stands()
        assert (again["state"], again["stage"]) == ("running", found["passed"] or 1)
        await bench.now_due()
        await recovery.rounds()
        assert (await recovery.stands())["state"] == "done"
        assert await acts(bench) == ["replay", "replay resume"]

    on_bench(work)


def test_errors_that_stay_hold_the_ramp_and_a_burst_does_not(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await backlog(bench, 900)
        await recovery.start()
        while (await recovery.stands())["stage"] != 0:
            await recovery.round()
        recovery.erp.answer = lambda order_id: Kind.TRANSIENT if order_id.int % 2 else Kind.ACCEPTED
        await recovery.round()
        recovery.erp.answer = always(Kind.ACCEPTED)
        while len(recovery.erp.sent) < 400:
            assert await recovery.round()
        assert (await recovery.stands())["state"] == "running", "the window has shrunk, and all is well"
        recovery.erp.answer = lambda order_id: Kind.TRANSIENT if order_id.int % 10 == 0 else Kind.ACCEPTED
        while (await recovery.stands())["state"] == "running":
            assert await recovery.round()
        found = await recovery.stands()
        assert (found["state"], found["stage"], found["passed"]) == ("holding", 0, 100)
        assert "2% is allowed" in found["why"]
        await commands.resume(bench.by("ops"), "erp", "a test")
        assert (await recovery.stands())["stage"] == 100

    on_bench(work)


def test_refusals_beyond_the_norm_hold_it_and_one_does_not(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await backlog(bench, 200)
        recovery.erp.answer = always(Kind.REFUSED)
        await recovery.start()
        assert await recovery.rounds() == [1, 10]
        found = await recovery.stands()
        assert (found["state"], found["stage"]) == ("holding", 10)
        assert "10 of 10 orders refused" in found["why"]

    on_bench(work)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE backends SET latency = 0.01", "one answer in twenty takes"),
        ("UPDATE backends SET quarantined = true", "erp is in quarantine"),
    ],
)
def test_other_gates(on_bench: OnBench, change: str, says: str) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await backlog(bench, 50)
        await recovery.start(hold=True)
        await recovery.round()
        await commands.next_stage(bench.by("ops"), "erp", "a test")
        out = await bench.dispatch()
        taken = await claim(bench.worker, out, bench.settings)
        assert taken is not None
        await bench.sql(
            f"INSERT INTO attempts SELECT order_id, '{taken.lease}', now() - interval '3 s', now() + interval '1 s', "
            "'accepted', 200, '', 'w' FROM deliveries WHERE state = 'delivering'"
        )
        await bench.sql(
            f"INSERT INTO receipts (order_id, lease, backend, reference, lines) SELECT order_id, '{taken.lease}', "
            "'erp', order_id, '[]' FROM deliveries WHERE state = 'delivering'"
        )
        await bench.sql("UPDATE deliveries SET state = 'delivered' WHERE state = 'delivering'")
        await bench.sql(change)
        await recovery.steer()
        found = await recovery.stands()
        assert (found["state"], found["passed"]) == ("holding", 1)
        assert says in found["why"]

    on_bench(work)


def test_a_delivered_order_without_a_receipt_holds_it(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await backlog(bench, 5)
        await recovery.start()
        out = await bench.dispatch()
        taken = await claim(bench.worker, out, bench.settings)
        assert taken is not None
        await bench.sql(
            f"INSERT INTO attempts SELECT order_id, '{taken.lease}', now(), now(), 'accepted', 200, '', 'w' "
            "FROM deliveries WHERE state = 'delivering'"
        )
        await bench.sql("UPDATE deliveries SET state = 'delivered' WHERE state = 'delivering'")
        await recovery.steer()
        assert (await recovery.stands())["why"] == "1 of 1 delivered without a receipt"

    on_bench(work)


def test_an_order_whose_worker_died_gives_its_place_to_another_try(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await backlog(bench, 30)
        await recovery.start()
        for died in ("dispatched", "delivering"):
            out = await bench.dispatch()
            if died == "delivering":
                await claim(bench.worker, out, bench.settings)
            await recovery.steer()
            assert (await recovery.stands())["stage"] == 1
            await bench.sql("UPDATE deliveries SET lease_until = now() - interval '1 s' WHERE state <> 'accepted'")
            assert await bench.rescue() == {died: 1}
            await recovery.steer()
        assert sum(await recovery.rounds()) == 30
        found = await recovery.stands()
        assert found["state"] == "done"
        assert all(stage["failed"] is None for stage in found["history"])

    on_bench(work)


def test_it_is_paused_where_it_is_and_resumed_there(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await backlog(bench, 60)
        await recovery.start()
        assert [await recovery.round(), await recovery.round()] == [1, 10]
        await commands.pause(bench.by("ops"), "erp", "the ERP's people ask")
        assert await recovery.rounds() == []
        found = await recovery.stands()
        assert (found["state"], found["stage"], found["why"]) == ("paused", 100, "the ERP's people ask")
        with pytest.raises(NotSo, match="is paused"):
            await commands.pause(bench.by("ops"), "erp", "a test")
        await commands.resume(bench.by("ops"), "erp", "a test")
        assert sum(await recovery.rounds()) == 49
        assert (await recovery.stands())["state"] == "done"

    on_bench(work)


def test_what_is_left_of_a_cancelled_one_is_backlog_like_any_other(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await backlog(bench, 60)
        await recovery.start()
        await recovery.round()
        await commands.cancel(bench.by("ops"), "erp", "not today")
        found = await recovery.stands()
        assert (found["state"], found["why"]) == ("cancelled", "not today")
        assert sum(await recovery.rounds()) == 59
        with pytest.raises(NotFound):
            await commands.cancel(bench.by("ops"), "erp", "a test")
        assert await recovery.start() is None, "nothing is left to replay, and that leaves no trace"
        assert len(await bench.run(text("SELECT 1 FROM replays"))) == 1

    on_bench(work)


def test_of_two_operators_who_start_one_at_once_one_wins(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await backlog(bench, 100)
        recovery = Recovery(bench)
        both = await asyncio.gather(*(recovery.start() for _ in range(3)), return_exceptions=True)
        refused = [found for found in both if isinstance(found, NotSo)]
        assert len(refused) == 2
        assert all("is not over" in str(found) for found in refused)
        assert await acts(bench) == ["replay"]

    on_bench(work)


def test_each_pharmacy_has_its_turn(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        intake = Intake(bench.by("api"), "erp")
        of: dict[UUID, str] = {}
        for pharmacy, count in (("large", 40), ("middle", 5), ("small", 2)):
            for number in range(count):
                body = {
                    "pharmacy": pharmacy,
                    "reference": str(number),
                    "lines": [{"product": MEDICINE, "quantity": 1}],
                }
                of[(await intake.accept(parse(json.dumps(body).encode()), "t")).id] = pharmacy
        await bench.run(REGISTER, window=50)
        await recovery.start()
        await recovery.rounds()
        turns = [of[order_id] for order_id in recovery.erp.sent]
        assert Counter(turns[:11]) == {"large": 5, "middle": 4, "small": 2}

    on_bench(work)


def test_live_orders_keep_their_share_and_the_replay_has_the_rest(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        past = datetime(2024, 10, 19, 12, tzinfo=UTC).isoformat()
        old = []
        for _ in range(2):
            old += await bench.accept(100, priority="urgent", cut_off=past)
        await bench.run(REGISTER, window=50)
        await recovery.start()
        await bench.sql("UPDATE replays SET stage = 0, passed = 100")
        await bench.sql('UPDATE backends SET "window" = 50')
        first = await bench.dispatch()
        assert set(first) <= set(old), "where no live order waits, the replay has the whole window"
        assert len(first) == 50
        live = await bench.accept(30)
        await deliver(bench.resources(recovery.erp), first[:20])
        await bench.sql('UPDATE backends SET "window" = 50')
        second = await bench.dispatch()
        assert len(second) == 20
        assert len(set(second) & set(live)) == 10, "a fifth of the window, though the backlog is more urgent"
        await deliver(bench.resources(recovery.erp), first[20:])
        await bench.sql('UPDATE backends SET "window" = 50')
        third = await bench.dispatch()
        assert len(set(third) & set(live)) == 0, "they hold their share"
        urgent = await bench.accept(2, priority="urgent")
        await deliver(bench.resources(recovery.erp), second)
        await bench.sql('UPDATE backends SET "window" = 50')
        fourth = await bench.dispatch()
        assert set(urgent) <= set(fourth)

    on_bench(work)


def test_a_rate_bounds_a_dispatch_and_live_orders_have_their_share_of_it(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        past = datetime(2024, 10, 19, 12, tzinfo=UTC).isoformat()
        await bench.accept(100, priority="urgent", cut_off=past)
        await bench.run(REGISTER, window=50)
        await recovery.start()
        await bench.sql("UPDATE replays SET stage = 0, passed = 100")
        await bench.sql('UPDATE backends SET "window" = 50')
        live = await bench.accept(30)
        out = await bench.dispatch(allowance=10)
        assert (len(out), len(set(out) & set(live))) == (10, 2)
        await operations.limit(bench.by("ops"), "erp", 12.5, "the ERP's people ask")
        assert (await recovery.steer()).rate == 12.5
        await operations.limit(bench.by("ops"), "erp", None, "a test")
        assert (await recovery.steer()).rate is None
        with pytest.raises(NotFound):
            await operations.limit(bench.by("ops"), "nobody", 5.0, "a test")

    on_bench(work)


def test_a_dispatch_reads_no_more_of_the_backlog_than_it_takes(on_bench: OnBench) -> None:
    def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
        return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]

    async def work(bench: Bench) -> None:
        await backlog(bench, 200)
        await bench.sql(
            "INSERT INTO deliveries (order_id, state, backend, priority, cut_off, turn) "
            "SELECT gen_random_uuid(), 'accepted', 'erp', 1, 'infinity', n % 2 * n FROM generate_series(1, 20000) n"
        )
        await bench.sql('UPDATE backends SET "window" = 30')
        literal = str(DISPATCH)
        for name, value in {"backend": "'erp'", "allowance": "1000", "share": "0.2", "patience": "5"}.items():
            literal = re.sub(rf"(?<!:):{name}\b", value, literal)
        async with transactional(bench.worker).connect() as connection:
            for setting in PLANNER:
                await connection.execute(text(f"SET LOCAL enable_{setting} = off"))
            [[found]] = await connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {literal}"))
        run = [node for node in nodes(found[0]["Plan"]) if node["Actual Loops"]]
        read = [
            (each["Node Type"], each["Relation Name"], each["Actual Rows"]) for each in run if "Relation Name" in each
        ]
        assert len([scan for scan in read if scan[1] == "deliveries"]) >= 3
        assert [scan for scan in read if "Seq" in scan[0] and scan[1] in ("deliveries", "orders")] == []
        assert max(rows for _, _, rows in read) <= 30
        assert [node for node in run if "cut_off <=" in node.get("Index Cond", "")] == [], "no line has one that passed"
        assert max(node["Actual Loops"] for node in run if node.get("CTE Name") == "held") <= 2, "once a line"

    on_bench(work)


def test_an_unfit_order_proves_nothing_and_gives_its_place_to_another(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        recovery = Recovery(bench)
        await bench.accept(4, valid_until="2024-10-19T12:00:00Z")
        await backlog(bench, 5)
        await recovery.start()
        sizes = await recovery.rounds()
        assert sizes[:5] == [1, 1, 1, 1, 1], "four unfit ones, then the canary"
        assert len(recovery.erp.sent) == 5
        found = await recovery.stands()
        assert (found["state"], found["history"][0]["found"]["answered"]) == ("done", 1)

    on_bench(work)
