"""Dead letters at the console: groups, their orders, notes; a group replayed in batches, by two people at once."""

import asyncio
import html
import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from config.settings import Settings
from orders.errors import Malformed
from orders.journal import snapshot
from orders.queries import causes as cause_queries
from orders.queries import orders as order_queries
from orders.rules.catalogue import Product
from orders.schema import cause_triggers
from orders.states import State
from tests.bench import MEDICINE, Bench, OnBench, Scripted, always
from tests.workers.console.journalled import BORN, Work, die
from tests.workers.console.site import Site, serving, text_of
from workers.console.access.people import Role
from workers.console.acts import batches
from workers.console.acts.act import Stopped
from workers.console.dead.acts import ACTS, choose
from workers.delivery.deliver import deliver
from workers.delivery.poll import poll
from workers.dispatch.scheduler import EXPIRE
from workers.erp.port import Capabilities, Kind
from workers.operations import acting_as
from workers.replay.choice import Choice
from workers.replay.redrive import discard, replay

REPLAY, DISCARD = ACTS
NAIVE = text("SELECT cause, count(*) FROM deliveries WHERE state = 'dead' GROUP BY cause")


class Steps:
    """A run that nobody watches; stops at its `last` step."""

    sees = ""

    def __init__(self, last: int = 10_000) -> None:
        self.last, self.told = last, 0

    async def at(self, done: int, total: int | None, note: str = "") -> None:
        self.told += 1
        if self.told > self.last:
            raise Stopped


def test_every_way_to_die_has_a_cause(on_bench: OnBench) -> None:
    async def work(bench: Bench) -> None:
        async def dying(erp: Scripted, **fields: object) -> None:
            await bench.accept(1, **fields)
            await deliver(bench.resources(erp), await bench.dispatch())

        refusing = Scripted(always(Kind.REFUSED))
        await dying(refusing)
        await dying(refusing, lines=[{"product": "3400937318044", "quantity": 1}] * 2)  # unfit
        await bench.accept(1, valid_until="2026-01-05T12:00:00Z")
        await bench.run(EXPIRE)
        await dying(Scripted(always(Kind.PENDING)))
        waiting = [row[0] for row in await bench.run(text("SELECT order_id FROM deliveries WHERE state = 'submitted'"))]
        await poll(bench.resources(Scripted(always(Kind.PENDING), found=Kind.REFUSED)), waiting)
        await bench.accept(1)
        (lost,) = await bench.dispatch()
        await bench.sql(
            f"UPDATE deliveries SET state = 'delivering', lease = gen_random_uuid(), "
            f"attempts = {bench.settings.delivery.max_attempts}, lease_until = now() - interval '1 minute' "
            f"WHERE order_id = '{lost}'"
        )
        await bench.rescue()
        found = await cause_queries.groups(bench.engine)
        assert {(each["reason"], each["status"], each["orders"]) for each in found} == {
            ("refused", 200, 2),
            ("invalid", None, 1),
            ("expired", None, 1),
            ("exhausted", None, 1),
        }
        assert await bench.run(text("SELECT FROM deliveries WHERE (state = 'dead') <> (cause IS NOT NULL)")) == []
        assert await cause_queries.total(bench.engine) == 5

    on_bench(work)


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_naive_sql_whatever_goes_on(on_bench: OnBench, seed: int) -> None:
    async def work(bench: Bench) -> None:
        dice = random.Random(seed)
        over = asyncio.Event()

        async def again(act: Callable[[], Any]) -> None:
            while not over.is_set():
                await act()

        async def dies() -> None:
            await bench.run(BORN, n=dice.randint(1, 30), kinds=dice.randint(1, 5), each=1.0)

        async def acts_on(do: Any) -> None:
            found = await cause_queries.groups(bench.engine)
            if found:
                await do(bench.engine, Choice(State.DEAD, cause=dice.choice(found)["id"]), "why", dice.randint(1, 20))

        async def sums() -> None:
            await bench.run(cause_triggers.SUM_UP)

        async def judge() -> None:
            for _ in range(13):
                async with snapshot(bench.engine) as connection:
                    found = await cause_queries.groups(connection)
                    truth = {row[0]: row[1] for row in await connection.execute(NAIVE)}
                assert {each["id"]: each["orders"] for each in found} == truth
                assert [each["orders"] for each in found] == sorted(truth.values(), reverse=True)
            over.set()

        try:
            async with asyncio.TaskGroup() as group:
                for each in (dies, sums, lambda: acts_on(replay), lambda: acts_on(discard)):
                    group.create_task(again(each))
                group.create_task(judge())
        finally:
            over.set()

    on_bench(work)


def test_pages_read_no_more_dead_letters_than_they_show(settings: Settings) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            found = await die(site, 20_000, kinds=3)
            async with site.owner.connect() as connection:
                await connection.execute(cause_triggers.SUM_UP)
                await connection.execute(text("ANALYZE deliveries, causes, cause_tallies"))
                cause = found[0]["id"]
                members = {
                    "cause": cause,
                    "settled_at": datetime(1970, 1, 1, tzinfo=UTC),
                    "id": UUID(int=0),
                    "limit": 51,
                }
                groups = {"n": 2**62, "id": 2**62, "limit": 101}
                statements = (
                    (cause_queries._MEMBERS.text, members),
                    (cause_queries._GROUPS.format(where=""), groups),
                    (cause_queries._ONE.text, {"id": cause}),
                )
                for statement, values in statements:
                    explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}")
                    plan = (await connection.execute(explain, values)).scalar_one()
                    plan = json.loads(plan) if isinstance(plan, str) else plan
                    assert max(rows_of(plan[0]["Plan"]).values()) <= values.get("limit", 1) + 5

    asyncio.run(look())


def rows_of(plan: dict[str, Any]) -> Counter[str]:
    """Rows that the scans of a plan read, by table."""
    read: Counter[str] = Counter()
    if "Relation Name" in plan:
        each = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        read[plan["Relation Name"]] += round(plan["Actual Loops"] * each)
    return sum((rows_of(part) for part in plan.get("Plans", [])), read)


def test_what_an_erp_quoted_of_an_order_is_masked_for_everybody(settings: Settings) -> None:
    secret = "Mme Weiss"
    errors = {
        "refused": [f"not for {secret}", "rupture de stock", f"the ERP refuses the order: {secret} says so"],
        "exhausted": [f"the ERP is out of service: ask {secret}", "no answer in time"],
        "invalid": ["lines.1.product: is not in the catalogue"],
    }

    async def look() -> None:
        async with serving(settings) as site:
            bench = Bench(site.app.state.console.engine, settings, site.logins)
            for reason, error in ((reason, each) for reason, told in errors.items() for each in told):
                (order,) = await bench.accept(1)
                await bench.sql(
                    f"UPDATE deliveries SET state = 'dead', reason = '{reason}', error = '{error}', settled_at = now() "
                    f"WHERE order_id = '{order}'"
                )
            groups = await cause_queries.groups(bench.engine)
            assert len(groups) == 6
            ((pharmacy,),) = await bench.run(text("SELECT DISTINCT pharmacy FROM orders"))
            seen = ""
            for who in (await site.enter(), await site.enter("paul", Role.VIEWER)):
                paths = ["/dead", *(f"/dead/{each['id']}" for each in groups), f"/pharmacy/{pharmacy}"]
                paths += [f"/order/{each['sample']}" for each in groups]
                if who.csrf and not seen:
                    paths += [f"/acts/dead-replay?cause={each['id']}" for each in groups]
                    paths += [f"/acts/dead-discard?cause={each['id']}" for each in groups]
                for path in paths:
                    page = await who.get(path, follow_redirects=True)
                    assert page.status_code == 200, path
                    assert "Weiss" not in page.text, path
                    seen += text_of(page)
            for told in ("the ERP is out of service (masked)", "no answer in time", "is not in the catalogue"):
                assert told in seen
            assert "the ERP refuses the order (masked)" in seen and "rupture de stock" in seen

    asyncio.run(look())


def test_what_is_wrong_with_an_order_is_told_in_the_readers_language(at_console: Callable[[Work], None]) -> None:
    other = "3400930000014"
    sold = {MEDICINE: Product(MEDICINE, "a medicine", max_quantity=10)}

    async def work(site: Site, bench: Bench) -> None:
        lines = [{"product": MEDICINE, "quantity": 11}, {"product": other, "quantity": 1}]
        (unfit, late, aged) = (
            *await bench.accept(1, lines=lines),
            *await bench.accept(1, valid_until="2026-01-05T12:00:00Z"),
            *await bench.accept(1),
        )
        await bench.run(EXPIRE)
        await bench.sql(f"UPDATE deliveries SET accepted_at = now() - interval '37 hours' WHERE order_id = '{aged}'")
        policy = {"normal": timedelta(hours=36)}
        await deliver(
            bench.resources(Scripted(always(Kind.ACCEPTED)), catalogue=sold, policy=policy), await bench.dispatch()
        )
        jeanne = await site.enter()
        french = {"Accept-Language": "fr"}
        found = {each["sample"]: each["id"] for each in await cause_queries.groups(bench.engine)}
        for order, english, one, any_of_them in (
            (
                unfit,
                "lines.1.quantity: more than the 10 that one order may ask for; lines.2.product: not in the catalogue",
                "lines.1.quantity : plus que les 10 qu'une commande peut demander ; "
                "lines.2.product : absent du catalogue",
                "lines.#.quantity : plus que les # qu'une commande peut demander ; "
                "lines.#.product : absent du catalogue",
            ),
            (
                late,
                "valid_until: this time passed before it was forwarded",
                "valid_until : cette heure est passée avant la transmission",
                "valid_until : cette heure est passée avant la transmission",
            ),
            (
                aged,
                "age: 1d 13h when it was to be forwarded, and a normal order may be 1d 12h old",
                "age : 1d 13h au moment de la transmission, et une commande normale ne doit pas avoir plus de 1d 12h",
                "age : # au moment de la transmission, et une commande normale ne doit pas avoir plus de #",
            ),
        ):
            assert (await order_queries.order(bench.engine, order))["error"] == english
            assert (
                html.unescape(text_of(await jeanne.get(f"/order/{order}"))).count(english) == 2
            )  # what comes next, and the timeline
            assert html.unescape(text_of(await jeanne.get(f"/order/{order}", headers=french))).count(one) == 2
            assert one in html.unescape(text_of(await jeanne.get("/pharmacy/990000002", headers=french)))
            for path in ("/dead", f"/dead/{found[order]}", f"/acts/dead-discard?cause={found[order]}"):
                page = await jeanne.get(path, headers=french, follow_redirects=True)
                assert any_of_them in html.unescape(text_of(page)), path

    at_console(work)


def test_groups_members_and_cursors(settings: Settings) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne, paul = await site.enter(), await site.enter("paul", Role.VIEWER)
            assert "No order needs a person." in text_of(await jeanne.get("/dead"))
            found = await die(site, 120, kinds=2)
            page = await jeanne.get("/dead")
            assert "RUPTURE" not in page.text
            assert "the ERP refused it (the ERP's words are masked) refused HTTP 422" in html.unescape(text_of(page))
            assert "120 orders need a person." in text_of(page)
            assert "refused HTTP 422" not in text_of(await jeanne.get("/dead?reason=stale"))
            assert "120 commandes sont en souffrance" in text_of(
                await jeanne.get("/dead", headers={"Accept-Language": "fr"})
            )
            cause, other = found[0]["id"], found[1]["id"]
            seen, last = [], ""
            link = f"/dead/{cause}"
            while link:
                page = (await jeanne.get(link)).text
                seen += [part.split('"')[0] for part in page.split('name="id" value="')[1:]]
                after = page.split("?after=")
                token = after[1].partition('"')[0] if len(after) > 1 else ""
                link = f"/dead/{cause}?after={token}" if token else ""
                last = link or last
            assert len(seen) == len(set(seen)) == 60
            for wrong in (last.replace(str(cause), str(other)), f"/dead?after={last.split('=')[1]}", "/dead?after=x"):
                assert (await jeanne.get(wrong)).status_code == 422
            for wrong, status in (
                ("/dead/x", 422),
                ("/dead/1", 404),
                ("/dead?reason=no", 422),
                (f"/dead/{2**53}", 422),
            ):
                assert (await jeanne.get(wrong)).status_code == status
            assert "/acts/" not in (await paul.get(f"/dead/{cause}")).text

    asyncio.run(look())


def test_a_group_of_unmapped_orders_names_the_codes_and_offers_the_import(settings: Settings) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            bench = Bench(site.app.state.console.engine, settings, site.logins)
            erp = Scripted(always(Kind.ACCEPTED))
            erp.capabilities = Capabilities(mapped=True)
            await bench.accept(1)
            (two,) = await bench.accept(
                lines=[{"product": each, "quantity": 1} for each in (MEDICINE, "3400938615470")]
            )
            await deliver(bench.resources(erp), await bench.dispatch())
            (group,) = await cause_queries.groups(bench.engine)
            jeanne, french = await site.enter(), {"Accept-Language": "fr"}
            page = await jeanne.get(f"/dead/{group['id']}")
            assert "Codes that are not mapped" in text_of(page)
            codes = "2 pharmacy 990000002 2 product 3400937318044 1 product 3400938615470"
            assert codes in " ".join(text_of(page).split())
            assert "relais mapping import FILE --backend erp --because WHY" in html.unescape(page.text)
            assert "Replayed as they are, they die again." in text_of(page)
            told = " ".join(text_of(await jeanne.get(f"/dead/{group['id']}", headers=french)).split())
            assert codes.replace("pharmacy", "officine").replace("product", "produit") in told
            assert "Codes sans correspondance" in told
            groups = html.unescape(text_of(await jeanne.get("/dead?reason=unmapped", headers=french)))
            assert "un de ses codes n'a pas de correspondance chez l'ERP" in groups
            life = text_of(await jeanne.get(f"/order/{two}", headers=french))
            named = "officine 990000002, produit 3400937318044, produit 3400938615470"
            assert f"(sans correspondance : {named})" in life and "not mapped" not in life

    asyncio.run(look())


def test_a_note_is_for_the_next_shift_and_only_text(settings: Settings) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne, paul = await site.enter(), await site.enter("paul", Role.VIEWER)
            here = f"/dead/{(await die(site, 1))[0]['id']}"
            evil = "<script>alert(1)</script> fixed at 14:10"
            assert (await jeanne.post(f"{here}/notes", {"words": evil})).status_code == 303
            page = await paul.get(here)
            assert "<script>alert" not in page.text and "&lt;script&gt;alert(1)" in page.text
            assert "jeanne" in text_of(page)
            for words in ("", "x" * 1001, "a\0b"):
                assert (await jeanne.post(f"{here}/notes", {"words": words})).status_code == 422
            assert (await paul.post(f"{here}/notes", {"words": "no"})).status_code == 403
            assert (await jeanne.post(f"{here}/notes", {"words": "no", "csrf": "forged"})).status_code == 403

    asyncio.run(look())


def test_a_group_is_replayed_in_batches_by_two_at_once_each_order_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH", 50)

    async def act() -> None:
        async with serving(settings) as site:
            state = site.app.state.console
            words = state.pages.words["en"]
            cause = (await die(site, 700))[0]["id"]
            chosen = choose({"cause": str(cause), "before": datetime.now(UTC).isoformat()})
            await die(site, 3, each=-60)  # too late: not shown
            shown = await REPLAY.preview(state, chosen, words)
            assert shown.orders == 700 and len(shown.sample) == 10

            async def by(name: str) -> dict[str, Any]:
                with acting_as(name):
                    return await REPLAY.run(state, chosen, "the catalogue is mended", Steps())

            one, two = await asyncio.gather(by("jeanne"), by("paul"))
            assert one["replayed"] + two["replayed"] == 700
            assert min(one["left"], two["left"]) == 0  # the first may find a batch in the other's hands
            assert {one["joined"], two["joined"]} == {3}
            assert "paul" in one.get("by", "") or "jeanne" in two.get("by", "")
            async with site.owner.connect() as connection:
                query = "SELECT jsonb_array_elements_text(detail -> 'ids') FROM operations WHERE act = 'replay'"
                ids = [row[0] for row in await connection.execute(text(query))]
            assert len(ids) == len(set(ids)) == 700
            assert (await REPLAY.preview(state, chosen, words)).hindered
            assert (await cause_queries.group(state.engine, cause))["orders"] == 3

    asyncio.run(act())


def test_discarding_stops_between_batches(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH", 50)

    async def act() -> None:
        async with serving(settings) as site:
            state = site.app.state.console
            cause = (await die(site, 200))[0]["id"]
            with pytest.raises(Stopped):
                await DISCARD.run(state, choose({"cause": str(cause)}), "no use", Steps(last=2))
            assert (await cause_queries.group(state.engine, cause))["orders"] == 100

    asyncio.run(act())


def test_a_choice_is_of_some_and_of_not_too_many() -> None:
    many = ",".join(str(uuid4()) for _ in range(501))
    for fields in ({"id": many}, {}, {"id": "x"}, {"cause": "-1"}, {"cause": "1", "before": "noon"}):
        with pytest.raises(Malformed):
            choose(fields)
    chosen = choose({"id": f"{uuid4()}, {uuid4()}"})
    assert choose(chosen) == chosen
