"""What an ERP calls products and pharmacies, from the import to what a connector is told, and what waits for it."""

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.errors import NotSo
from orders.queries import causes as cause_queries
from orders.queries import mappings
from orders.queries import orders as order_queries
from orders.sentences import sentence_of
from orders.states import CodeKind
from tests.bench import MEDICINE, Bench, OnBench, Scripted, always
from tests.waiting import auntil
from workers.delivery import deliver as delivering
from workers.delivery.deliver import deliver
from workers.erp.port import Capabilities, Kind, Mapped
from workers.mapping import importing
from workers.mapping.current_mapping import MOST_NAMED, unmapped
from workers.mapping.importing import ImportCounts, NewTargets, import_targets, preview
from workers.operations import acting_as
from workers.replay import redrive

PHARMACY = "990000002"
OTHER = "3400938615470"
THIRD = "3400932648047"
Wanted = Mapping[str, str | tuple[str, str | None, str | None]]


def targets(kind: CodeKind, wanted: Wanted) -> NewTargets:
    return NewTargets(
        kind, {code: (to, None, None) if isinstance(to, str) else to for code, to in wanted.items()}, "00"
    )


async def imports(bench: Bench, kind: CodeKind, wanted: Wanted, *, replace: bool = False) -> ImportCounts:
    """Import it as an operator does: previewed first."""
    file, engine, backend = targets(kind, wanted), bench.by("ops"), bench.settings.erp.backend
    found = await preview(engine, backend, file, replace=replace)
    done = await import_targets(engine, backend, file, "a test", replace=replace, seen=found)
    assert done == found, "the preview told what was done"
    return done


async def products(bench: Bench, *codes: str, replace: bool = False) -> ImportCounts:
    return await imports(bench, CodeKind.PRODUCT, {code: f"A-{code[-4:]}" for code in codes}, replace=replace)


async def pharmacies(bench: Bench, **codes: Any) -> ImportCounts:
    return await imports(bench, CodeKind.PHARMACY, {PHARMACY: "C-1", **codes})


def needing() -> Scripted:
    """An ERP that has to be told what it calls things."""
    erp = Scripted(always(Kind.ACCEPTED))
    erp.capabilities = Capabilities(mapped=True)
    return erp


def lines(*codes: str) -> list[dict[str, object]]:
    return [{"product": code, "quantity": 1} for code in codes]


async def states(bench: Bench) -> dict[UUID, tuple[str, str | None]]:
    rows = await bench.run(text("SELECT order_id, state, reason FROM deliveries"))
    return {row[0]: (row[1], row[2]) for row in rows}


async def rows(engine: AsyncEngine, statement: str) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(statement))).all())


def test_a_connector_that_asks_for_it_is_told_what_its_erp_calls_an_order_s_codes(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await products(bench, MEDICINE, OTHER)
        await imports(bench, CodeKind.PHARMACY, {PHARMACY: ("C-1", "TARIF B", None)})
        (order_id,) = await bench.accept(lines=lines(OTHER, MEDICINE))
        erp = needing()
        await deliver(bench.resources(erp), await bench.dispatch())
        sent = erp.submitted[order_id]
        assert sent.mapped == Mapped("C-1", "TARIF B", None, ("A-5470", "A-8044"))
        assert sent.order is not None and [line.product for line in sent.order.lines] == [OTHER, MEDICINE]
        assert await states(bench) == {order_id: ("delivered", None)}

    on_bench(work)


def test_a_connector_that_does_not_ask_pays_nothing_for_it(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        erp = Scripted(always(Kind.ACCEPTED))
        resources = bench.resources(erp)
        assert resources.mapping is not None
        asked: list[object] = []
        resources.mapping.renew = lambda: asked.append(1)  # type: ignore[method-assign,assignment,return-value]
        await deliver(resources, await bench.dispatch())
        assert (asked, erp.submitted[order_id].mapped) == ([], None)
        assert await states(bench) == {order_id: ("delivered", None)}

    on_bench(work)


def test_an_unmapped_code_makes_a_dead_letter_that_names_it_and_stops_no_other_order(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await products(bench, MEDICINE)
        await pharmacies(bench)
        (good,) = await bench.accept()
        (bad,) = await bench.accept(lines=lines(MEDICINE, OTHER))
        (worse,) = await bench.accept(pharmacy="P2", lines=lines(THIRD, OTHER))
        erp = needing()
        await deliver(bench.resources(erp), await bench.dispatch())
        assert erp.sent == [good]
        dead = ("dead", "unmapped")
        assert await states(bench) == {good: ("delivered", None), bad: dead, worse: dead}
        life = await order_queries.order(bench.engine, worse)
        assert life["error"] == f'not mapped: "pharmacy P2", "product {THIRD}", "product {OTHER}"'
        assert (life["attempts"], life["history"]) == (0, [])
        (group,) = await cause_queries.groups(bench.engine)
        assert (group["reason"], group["message"], group["orders"]) == ("unmapped", "not mapped: #", 2)
        missing = await mappings.missing_in(bench.engine, group["id"], 10)
        assert (missing.looked, missing.concerned, missing.codes) == (2, 2, 3)
        assert [(each["kind"], each["code"], each["orders"]) for each in missing.listed] == [
            ("product", OTHER, 2),
            ("pharmacy", "P2", 1),
            ("product", THIRD, 1),
        ]

    on_bench(work)


def test_the_import_that_maps_the_last_of_its_codes_puts_an_order_through_again(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        (both,) = await bench.accept(lines=lines(MEDICINE, OTHER))
        (one,) = await bench.accept()
        (refused,) = await bench.accept()
        resources = bench.resources(needing())
        await deliver(resources, await bench.dispatch())
        await bench.sql(f"UPDATE deliveries SET reason = 'refused' WHERE order_id = '{refused}'")
        assert (await products(bench, MEDICINE)).orders == 0, "the pharmacy is not mapped yet"
        assert (await pharmacies(bench)).orders == 1
        assert await states(bench) == {
            both: ("dead", "unmapped"),
            one: ("accepted", None),
            refused: ("dead", "refused"),
        }
        with acting_as("alice"):
            assert await products(bench, OTHER) == ImportCounts(3, 1, 0, 0, 0, 1)
        await deliver(resources, await bench.dispatch())
        assert {each for order, each in (await states(bench)).items() if order != refused} == {("delivered", None)}
        again, last = (await rows(bench.engine, "SELECT * FROM operations ORDER BY id"))[-2:]
        assert (again.operator, again.act, again.reason, again.tx) == ("alice", "replay", "a test", last.tx)
        assert (again.detail["ids"], again.detail["orders"]) == ([str(both)], 1)
        assert (last.operator, last.act, last.reason) == ("alice", "mapping import", "a test")
        assert last.detail == {
            "backend": "erp",
            "kind": "product",
            "sha256": "00",
            "replace": False,
            "version": 3,
            "new": 1,
            "changed": 0,
            "removed": 0,
            "unchanged": 0,
            "orders": 1,
        }

    on_bench(work)


def test_what_is_imported_later_is_what_counts_and_earlier_versions_stay(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await products(bench, MEDICINE, OTHER)
        changed = await imports(bench, CodeKind.PRODUCT, {MEDICINE: "B-1", THIRD: "B-3"}, replace=True)
        assert changed == ImportCounts(2, new=1, changed=1, removed=1, unchanged=0, orders=0)
        again = await imports(bench, CodeKind.PRODUCT, {MEDICINE: "B-1"})
        assert again == ImportCounts(2, new=0, changed=0, removed=0, unchanged=1, orders=0)
        assert [row["target"] for row in await mappings.history(bench.engine, "erp", [OTHER])] == [None, "A-5470"]
        assert await mappings.counted(bench.engine, "erp") == {"version": 2, "products": 2, "pharmacies": 0}
        kept = await rows(bench.engine, "SELECT count(*), count(DISTINCT version) FROM mappings")
        assert tuple(kept[0]) == (5, 2)
        assert len(await rows(bench.engine, "SELECT 1 FROM operations")) == 2, "what changes nothing is not recorded"

    on_bench(work)


def test_a_worker_learns_of_an_import_with_its_next_batch(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await pharmacies(bench)
        await products(bench, MEDICINE)
        erp = needing()
        resources = bench.resources(erp)
        for article in ("A-8044", "B-2"):
            await imports(bench, CodeKind.PRODUCT, {MEDICINE: article})
            (order_id,) = await bench.accept()
            await deliver(resources, await bench.dispatch())
            mapped = erp.submitted[order_id].mapped
            assert mapped is not None and mapped.articles == (article,)
        await imports(bench, CodeKind.PRODUCT, {OTHER: "A"}, replace=True)
        (order_id,) = await bench.accept()
        await deliver(resources, await bench.dispatch())
        assert (await states(bench))[order_id] == ("dead", "unmapped")

    on_bench(work)


def test_the_mapping_of_another_backend_is_not_taken(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        for kind, wanted in ((CodeKind.PRODUCT, {MEDICINE: "X"}), (CodeKind.PHARMACY, {PHARMACY: "X"})):
            file, engine = targets(kind, wanted), bench.by("ops")
            found = await preview(engine, "other", file, replace=False)
            await import_targets(engine, "other", file, "why", replace=False, seen=found)
        (order_id,) = await bench.accept()
        await deliver(bench.resources(needing()), await bench.dispatch())
        assert await states(bench) == {order_id: ("dead", "unmapped")}

    on_bench(work)


def test_an_import_in_the_middle_of_a_batch_leaves_no_order_behind(
    on_bench: OnBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is committed after the batch has looked into the mapping, and before that is settled."""

    async def work(bench: Bench) -> None:
        await products(bench, MEDICINE)
        (order_id,) = await bench.accept()
        settle = delivering.settle

        async def late(*given: Any) -> Any:
            monkeypatch.setattr(delivering, "settle", settle)
            assert (await pharmacies(bench)).orders == 0, "nothing is dead yet"
            return await settle(*given)

        monkeypatch.setattr(delivering, "settle", late)
        resources = bench.resources(needing())
        await deliver(resources, await bench.dispatch())
        assert await states(bench) == {order_id: ("accepted", None)}
        await deliver(resources, await bench.dispatch())
        assert await states(bench) == {order_id: ("delivered", None)}

    on_bench(work)


def test_a_batch_that_is_settled_in_the_middle_of_an_import_waits_for_it(
    on_bench: OnBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The import has the backend's row, and is not committed: whoever settles by the mapping as it was looks again."""

    async def work(bench: Bench) -> None:
        await products(bench, MEDICINE)
        (order_id,) = await bench.accept()
        dispatched = await bench.dispatch()
        looked, waits = asyncio.Event(), asyncio.Event()
        replay_mapped = redrive.replay_mapped

        async def slowly(*given: Any) -> Any:
            ids = await replay_mapped(*given)
            looked.set()
            await waits.wait()
            return ids

        monkeypatch.setattr(importing, "replay_mapped", slowly)
        importer = asyncio.create_task(pharmacies(bench))
        await looked.wait()
        worker = asyncio.create_task(deliver(bench.resources(needing()), dispatched))
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        await auntil(lambda: rows(bench.engine, waiting), 10)
        waits.set()
        await asyncio.gather(importer, worker)
        assert await states(bench) == {order_id: ("accepted", None)}

    on_bench(work)


def test_of_two_imports_at_once_one_is_done_whole_and_the_other_is_refused(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        engine, files = (
            bench.by("ops"),
            [targets(CodeKind.PRODUCT, {MEDICINE: str(n), OTHER: str(n)}) for n in range(6)],
        )
        seen = [await preview(engine, "erp", file, replace=True) for file in files]
        acts = (
            import_targets(engine, "erp", file, "why", replace=True, seen=each)
            for file, each in zip(files, seen, strict=True)
        )
        came = await asyncio.gather(*acts, return_exceptions=True)
        refused = [each for each in came if isinstance(each, NotSo)]
        assert len(refused) == 5
        assert str(refused[0]) == "nothing was done: the mapping of erp was changed since it was looked at"
        now = {row["target"] for row in await mappings.current(bench.engine, "erp", 10)}
        assert now == {str(next(n for n, each in enumerate(came) if isinstance(each, ImportCounts)))}
        assert await rows(bench.engine, "SELECT DISTINCT version FROM mappings") == [(1,)]
        assert len(await rows(bench.engine, "SELECT 1 FROM operations")) == 1

    on_bench(work)


def test_an_import_that_is_killed_in_the_middle_leaves_nothing(
    on_bench: OnBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(bench: Bench) -> None:
        (order_id,) = await bench.accept()
        await deliver(bench.resources(needing()), await bench.dispatch())
        await pharmacies(bench)
        before = await rows(bench.engine, "SELECT * FROM mappings")
        replay_mapped = redrive.replay_mapped

        async def cut(connection: Any, *given: Any) -> Any:
            assert await replay_mapped(connection, *given) == [order_id]
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            await bench.sql(f"SELECT pg_terminate_backend({pid})")
            return await replay_mapped(connection, *given)

        with monkeypatch.context() as patch:
            patch.setattr(importing, "replay_mapped", cut)
            with pytest.raises(DBAPIError):
                await products(bench, MEDICINE)
        assert await rows(bench.engine, "SELECT * FROM mappings") == before
        assert await states(bench) == {order_id: ("dead", "unmapped")}
        assert len(await rows(bench.engine, "SELECT 1 FROM operations")) == 1
        assert (await products(bench, MEDICINE)).orders == 1, "again, and whole"

    on_bench(work)


def test_what_may_be_with_an_erp_that_cannot_be_asked_is_not_the_pharmacy_s_to_cancel(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        await bench.accept()
        await bench.sql("UPDATE deliveries SET unsure = true")
        erp = needing()
        erp.capabilities = Capabilities(mapped=True, can_find=False)
        await deliver(bench.resources(erp), await bench.dispatch())
        assert await rows(bench.engine, "SELECT state, unsure FROM deliveries") == [("dead", True)]

    on_bench(work)


def test_of_the_codes_the_first_twenty_are_named() -> None:
    codes = [(CodeKind.PHARMACY, "P-1"), *((CodeKind.PRODUCT, f"34009{n:08}") for n in range(24))]
    assert str(unmapped(codes[:2])) == 'not mapped: "pharmacy P-1", "product 3400900000000"'
    told = unmapped(codes)
    assert str(told).count("product") == MOST_NAMED - 1
    assert str(told).endswith(', "5 more"')
    assert sentence_of(told.stored()) == told
