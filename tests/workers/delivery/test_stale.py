"""Orders that are too old to be forwarded without a person's word, from the claim to what that person says."""

import json
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from config.settings import Settings
from orders.intake.cancel import cancel
from orders.queries import orders as order_queries
from orders.states import State
from tests.bench import Bench, OnBench, Scripted, always
from tests.cli import CommandLine, environment
from workers.delivery.deliver import deliver
from workers.erp.port import Capabilities, Kind
from workers.replay.choice import Choice
from workers.replay.redrive import replay

POLICY = {"urgent": timedelta(hours=4), "normal": timedelta(hours=36)}
AGED = "UPDATE deliveries SET accepted_at = accepted_at - interval '37 hours'"


async def aged(bench: Bench, count: int) -> list[UUID]:
    """Orders accepted 37 hours ago."""
    ids = await bench.accept(count)
    await bench.sql(AGED)
    return ids


async def states(bench: Bench) -> dict[UUID, tuple[str, str | None]]:
    rows = await bench.run(text("SELECT order_id, state, reason FROM deliveries"))
    return {row[0]: (row[1], row[2]) for row in rows}


def test_an_order_that_is_too_old_is_a_dead_letter_and_never_forwarded(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (old,) = await aged(bench, 1)
        (fresh,) = await bench.accept()
        erp = Scripted(always(Kind.ACCEPTED))
        await deliver(bench.resources(erp, policy=POLICY), await bench.dispatch())
        assert erp.sent == [fresh]
        life = await order_queries.order(bench.engine, old)
        assert (life["state"], life["reason"], life["attempts"], life["history"]) == ("dead", "stale", 0, [])
        assert "1d 13h when it was to be forwarded, and a normal order may be 1d 12h old" in life["error"]

    on_bench(work)


def test_without_a_policy_nothing_goes_stale(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        ids = await aged(bench, 2)
        erp = Scripted(always(Kind.ACCEPTED))
        await deliver(bench.resources(erp, policy={}), await bench.dispatch())
        assert sorted(erp.sent) == sorted(ids)

    on_bench(work)


def test_what_may_be_with_the_erp_is_asked_for_before_it_is_called_stale(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        there, lost, unasked = await bench.accept(3)
        await deliver(bench.resources(Scripted(always(Kind.UNKNOWN)), policy=POLICY), await bench.dispatch())
        await bench.sql(AGED)
        await bench.sql("UPDATE backends SET circuit = 'closed', changed_at = now()")
        await bench.now_due()
        await bench.dispatch()
        for order_id, found in ((there, Kind.ACCEPTED), (lost, Kind.ABSENT), (unasked, Kind.UNKNOWN)):
            erp = Scripted(always(Kind.ACCEPTED), found=found)
            erp.receipt = await bench.receipt(there)
            await deliver(bench.resources(erp, policy=POLICY), [order_id])
            assert (erp.asked, erp.sent) == ([order_id], [])
        assert await states(bench) == {
            there: ("delivered", None),
            lost: ("dead", "stale"),
            unasked: ("accepted", None),
        }

    on_bench(work)


def test_an_erp_that_cannot_be_asked_gets_what_it_may_have_whatever_its_age(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await aged(bench, 1)
        await bench.sql("UPDATE deliveries SET unsure = true")
        erp = Scripted(always(Kind.ACCEPTED))
        erp.capabilities = Capabilities(can_find=False)
        await deliver(bench.resources(erp, policy=POLICY), await bench.dispatch())
        assert erp.sent == [order_id]

    on_bench(work)


def test_a_person_s_replay_makes_it_fresh_and_the_pharmacy_may_still_cancel(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        wanted, unwanted, refused = await aged(bench, 3)
        resources = bench.resources(Scripted(always(Kind.ACCEPTED)), policy=POLICY)
        await deliver(resources, await bench.dispatch())
        assert set((await states(bench)).values()) == {("dead", "stale")}
        await cancel(bench.by("api"), unwanted, "front", "request")
        await bench.sql(f"UPDATE deliveries SET reason = 'refused' WHERE order_id = '{refused}'")
        assert await replay(bench.by("ops"), Choice(state=State.DEAD, ids=(wanted, refused)), "asked by phone")
        await deliver(resources, await bench.dispatch())
        assert await states(bench) == {
            wanted: ("delivered", None),
            unwanted: ("cancelled", None),
            refused: ("dead", "stale"),
        }

    on_bench(work)


def test_stale_orders_are_replayed_or_discarded_in_bulk_after_a_look(
    settings: Settings, capsys: pytest.CaptureFixture[str], on_bench: OnBench
) -> None:
    async def work(bench: Bench) -> None:
        await aged(bench, 5)
        await bench.sql(
            "UPDATE deliveries SET accepted_at = accepted_at - interval '2 days' WHERE order_id IN "
            "(SELECT order_id FROM deliveries ORDER BY order_id LIMIT 3)"
        )
        await deliver(bench.resources(Scripted(always(Kind.ACCEPTED)), policy=POLICY), await bench.dispatch())

    on_bench(work)
    relais = CommandLine(capsys, environment(settings))
    chosen = ("--reason", "stale", "--older", "3d", "--json")
    for act in (("discard", "--because", "bought elsewhere"), ("replay",)):
        dry = json.loads(relais("dead", *act, *chosen, "--dry-run").out)
        assert (dry["preview"]["orders"], dry.get("discarded", 0), dry.get("replayed", 0)) == (3, 0, 0)
    gone = json.loads(relais("dead", "discard", "--because", "bought elsewhere", *chosen, "--yes").out)
    again = json.loads(
        relais("dead", "replay", "--because", "a test", "--reason", "stale", "--json", "--yes", "--no-wait").out
    )
    assert (gone["discarded"], again["replayed"]) == (3, 2)
    found = on_bench(states)
    assert sorted(found.values(), key=str) == [("accepted", None)] * 2 + [("discarded", "stale")] * 3
