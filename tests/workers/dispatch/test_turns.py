"""Clients take turns: a flood of one, however urgent it says that it is, makes no other wait."""

from typing import Any
from uuid import UUID

from sqlalchemy import text

from tests.bench import Bench
from tests.conftest import OnBench
from workers.dispatch.take_due import DISPATCH

LONG_AGO = "2000-01-01T00:00:00Z"


async def rows(bench: Bench, allowance: int = 100) -> list[Any]:
    values = {"patience": 600.0, "share": 0.2, "allowance": allowance}
    return sorted(await bench.run(DISPATCH, **values), key=lambda row: row.place)


async def settled(bench: Bench, ids: list[UUID]) -> None:
    listed = ", ".join(f"'{each}'" for each in ids)
    for state in ("delivering", "delivered"):
        await bench.sql(f"UPDATE deliveries SET state = '{state}' WHERE order_id IN ({listed})")


def test_an_urgent_flood_and_another_client_take_turns(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        flood = await bench.accept(20, "flood", priority="urgent", cut_off=LONG_AGO)
        others = await bench.accept(3, "other")
        turns = [flood[0], others[0], flood[1], others[1], flood[2], others[2]]
        assert await bench.dispatch(5) == turns[:5]
        assert await bench.dispatch(3) == [turns[5], flood[3], flood[4]]

    on_bench(work)


async def other_line(bench: Bench, pharmacy: str) -> str:
    """A pharmacy that waits in another line than this one does."""
    statement = text(
        "SELECT p FROM unnest(CAST(:names AS text[])) p WHERE hashtext(p) & 15 <> hashtext(:pharmacy) & 15"
    )
    names = [f"9900000{number:02}" for number in range(10, 99)]
    found = await bench.run(statement, names=names, pharmacy=pharmacy)
    return str(found[0][0])


def test_an_urgent_flood_of_a_pharmacy_and_another_of_the_same_client_take_turns(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        there = await other_line(bench, "990000002")
        flood = await bench.accept(20, "front", priority="urgent", cut_off=LONG_AGO)
        others = await bench.accept(3, "front", pharmacy=there)
        elsewhere = await bench.accept(2, "another")
        found = await bench.dispatch(6)
        assert found == [flood[0], elsewhere[0], others[0], elsewhere[1], flood[1], others[1]], (
            "clients, then pharmacies"
        )
        assert await bench.dispatch(3) == [flood[2], others[2], flood[3]]

    on_bench(work)


def test_who_has_the_window_waits_for_who_has_nothing_of_it(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        flood = await bench.accept(60, "flood", priority="urgent")
        assert await bench.dispatch() == flood[:50], "alone, it has the window"
        others = await bench.accept(2, "other")
        assert await bench.dispatch() == []
        for number in range(3):
            await settled(bench, [flood[number]])
            assert await bench.dispatch() == [[*others, flood[50]][number]]

    on_bench(work)


def test_within_its_turns_a_clients_urgent_orders_and_nearest_cut_offs_go_first(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (plain,) = await bench.accept(1, "a")
        (missed,) = await bench.accept(1, "a", cut_off=LONG_AGO)
        (late,) = await bench.accept(1, "a", cut_off="2090-01-02T00:00:00Z")
        (soon,) = await bench.accept(1, "a", cut_off="2090-01-01T00:00:00Z")
        (urgent,) = await bench.accept(1, "a", priority="urgent")
        theirs = await bench.accept(2, "b")
        ours = [urgent, soon, late, plain, missed]
        found = await bench.dispatch()
        assert [each for each in found if each in ours] == ours
        assert found[:4] == [urgent, theirs[0], soon, theirs[1]]

    on_bench(work)


def test_a_cut_off_that_passes_while_an_order_waits_is_none_any_more(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (plain,) = await bench.accept(1)
        missed, also = await bench.accept(2, cut_off="2090-01-01T00:00:00Z")
        (soon,) = await bench.accept(1, cut_off="2090-01-01T00:00:00Z")
        await bench.sql(f"UPDATE deliveries SET cut_off = '{LONG_AGO}' WHERE order_id IN ('{missed}', '{also}')")
        assert await bench.dispatch() == [soon, plain, missed, also]

    on_bench(work)


def test_in_redis_who_has_little_out_overtakes_whoever_says_that_it_is_urgent(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        flood = await bench.accept(20, "flood", priority="urgent")
        await bench.dispatch(0)  # registers the backend
        assert [row.urgent for row in await rows(bench, 10)] == [True] * 10, "alone, its urgent orders go first"
        (other,) = await bench.accept(1, "other")
        found = [(row.order_id, row.urgent) for row in await rows(bench, 3)]
        assert found == [(other, True), (flood[10], False), (flood[11], False)]

    on_bench(work)


def test_a_thousand_clients_each_have_their_turn_within_the_window(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await bench.accept(1)
        await bench.dispatch()
        await bench.sql(
            "INSERT INTO orders (id, pharmacy, reference, body, digest, client) SELECT "
            "CAST(lpad(to_hex(n), 32, '0') AS uuid), 'P', n, '', '', n % 1000 FROM generate_series(1, 3000) n"
        )
        await bench.sql(
            "INSERT INTO deliveries (order_id, state, backend, client, priority, cut_off) SELECT "
            "CAST(lpad(to_hex(n), 32, '0') AS uuid), 'accepted', 'erp', (n % 1000) << 4, 1, 'infinity' "
            "FROM generate_series(1, 3000) n"
        )
        await bench.sql('UPDATE backends SET "window" = 1101')
        found = await rows(bench, 1_000_000)
        assert sorted(row.order_id.int for row in found) == list(range(1, 1101)), "first all once, then the next"

    on_bench(work)
