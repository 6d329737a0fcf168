"""The search, an order's life and a pharmacy's page: what is found, what is proven, what stays masked."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from orders.errors import Malformed, NotSo, TooLate
from orders.queries.products import Filling
from orders.sentences import Code, Sentence
from tests.bench import MEDICINE, Bench, Scripted, always
from tests.workers.console.journalled import Quiet, Work
from tests.workers.console.site import Site, text_of
from workers.console.access.people import Role
from workers.console.i18n import languages
from workers.console.masking import Text, in_line, line_reason, said, say
from workers.console.search import acts, pharmacy
from workers.console.search import query as asking
from workers.delivery.deliver import deliver
from workers.erp.port import Kind
from workers.operations import acting_as

EVIL = "<script>alert(1)</script>"


async def delivered(bench: Bench, kind: Kind, count: int = 1, **fields: object) -> list[UUID]:
    """Orders that were accepted, and tried once with this outcome."""
    ids = await bench.accept(count, **fields)
    await bench.dispatch()
    await deliver(bench.resources(Scripted(always(kind))), ids)
    return ids


def test_an_order_is_found_by_everything_that_names_it(at_console: Callable[[Work], None]) -> None:
    async def work(site: Site, bench: Bench) -> None:
        (order,) = await delivered(bench, Kind.ACCEPTED)
        filling = Filling()
        while (step := await filling.step(bench.worker)) is None or step.more:
            pass
        reference = (await bench.run(text("SELECT reference FROM orders")))[0][0]
        jeanne = await site.enter(role=Role.VIEWER)
        for typed in (str(order), f"  {str(order).upper()} "):
            assert (await jeanne.get("/search", params={"q": typed})).headers["location"] == f"/order/{order}"
        ways = (reference, reference.lower(), reference[:12], f"ERP-{order}", MEDICINE, "34009 373 1804 4", "3731804")
        for typed in ways:
            answer = await jeanne.get("/search", params={"q": typed})
            assert (answer.status_code, f"/order/{order}" in answer.text) == (200, True), typed
        for way in ("product", "erp", "starts", "reference"):
            typed = {"product": MEDICINE, "erp": f"ERP-{order}"}.get(way, reference)
            assert f"/order/{order}" in (await jeanne.get("/search", params={"q": typed, "by": way})).text
        found = await jeanne.get("/search", params={"q": "990000002"})
        assert found.headers["location"] == "/pharmacy/990000002"

    at_console(work)


@pytest.mark.parametrize(
    ("told", "french"),
    [
        ("the worker did not settle in time", "le worker n'a pas conclu à temps"),
        ("the worker that had it died", "le worker qui l'avait est mort"),
        ("the ERP took it and has forgotten it", "l'ERP l'avait prise et l'a oubliée"),
        ("the ERP has forgotten it", "l'ERP l'a oubliée"),
    ],
)
def test_what_relais_itself_says_of_an_order_is_not_masked(told: str, french: str) -> None:
    assert said(told) == Text(told, ours=True)
    assert in_line(said(told), languages("UTC")["fr"]) == french


def test_nothing_and_nonsense(at_console: Callable[[Work], None]) -> None:
    async def work(site: Site, bench: Bench) -> None:
        jeanne = await site.enter()
        assert (await jeanne.get("/search")).status_code == 200
        assert "Nothing goes by <script>" in text_of(await jeanne.get("/search", params={"q": EVIL})).replace(
            "&lt;", "<"
        ).replace("&gt;", ">")
        assert EVIL not in (await jeanne.get("/search", params={"q": EVIL})).text
        for bad in ({"q": "x" * 65}, {"q": "a\0b"}, {"q": "x", "by": "y"}, {"q": "12", "by": "product"}):
            assert (await jeanne.get("/search", params=bad)).status_code == 422, bad
        assert (await jeanne.get(f"/order/{uuid4()}")).status_code == 404
        assert (await jeanne.get("/order/x")).status_code == 422
        assert (await jeanne.get("/pharmacy/nobody")).status_code == 404
        for odd in ("\U0010ffff", "\ud7ff", "%", "_" * 64):
            assert (await jeanne.get("/search", params={"q": odd, "by": "starts"})).status_code in (200, 422)

    at_console(work)


def test_pages_follow_each_other_and_a_cursor_is_good_for_its_own_list_alone(
    at_console: Callable[[Work], None],
) -> None:
    async def work(site: Site, bench: Bench) -> None:
        ids = set(await bench.accept(120))
        jeanne, cursors = await site.enter(), site.app.state.console.cursors
        for query in ("/pharmacy/990000002?show=all", "/search?by=starts&q=20"):
            seen: list[str] = []
            address = query
            while address:
                answer = await jeanne.get(address)
                seen += [part.split('"')[0] for part in answer.text.split('href="/order/')[1:]]
                before, more, _ = answer.text.partition('" rel="next"')
                follows = before.rsplit('href="', 1)[1].replace("&amp;", "&")
                address = str(answer.url.join(follows)).removeprefix("https://console.test") if more else ""
            assert (len(seen), set(seen)) == (120, {str(each) for each in ids}), query
        good = cursors.sign("pharmacy all 990000002", [str(max(ids))])
        assert cursors.read("pharmacy all 990000002", good, str) == (str(max(ids)),)
        for bad in (good[:-2], good[1:], "x", "é", "A" * 5000, good[:-1] + "!"):
            assert (await jeanne.get("/pharmacy/990000002", params={"after": bad})).status_code == 422, bad
        for other in ("pharmacy missing 990000002", "pharmacy all P1", "search starts 20"):
            with pytest.raises(Malformed):
                cursors.read(other, good)
        assert (await jeanne.get(f"/pharmacy/990000002?show=missing&after={good}")).status_code == 422
        cursors.key = None  # a console that starts again goes on from where another was
        assert (await jeanne.get(f"/pharmacy/990000002?show=all&after={good}")).status_code == 200

    at_console(work)


def test_a_life_is_told_whatever_came_of_it(at_console: Callable[[Work], None]) -> None:
    async def work(site: Site, bench: Bench) -> None:
        people = {role: await site.enter(role.value, role) for role in Role}
        for kind in (Kind.ACCEPTED, Kind.REFUSED, Kind.PENDING, Kind.TRANSIENT, Kind.UNKNOWN):
            (order,) = await delivered(bench, kind, note=f"pour Mme Dupont {EVIL}")
            for role, part in (*((role, "") for role in Role), (Role.VIEWER, "/life")):
                answer = await people[role].get(f"/order/{order}{part}")
                assert answer.status_code == 200
                assert "Dupont" not in answer.text and EVIL not in answer.text
                assert "<svg" in answer.text and "style=" not in answer.text
            final = kind in (Kind.ACCEPTED, Kind.REFUSED)
            assert ("every 2s" in answer.text) is not final, kind
            assert f"{kind}!" not in answer.text, "the ERP's words"
            assert ("unsigned" in answer.text) is (kind is Kind.ACCEPTED)
            assert "ATENOLOL SANDOZ 100 mg, comprimé pelliculé sécable" in answer.text, "of the list that is shipped"
            french = await people[Role.VIEWER].get(f"/order/{order}", headers={"Accept-Language": "fr"})
            assert french.status_code == 200

    at_console(work)


def test_free_text_is_shown_to_who_asked_and_that_is_recorded(at_console: Callable[[Work], None]) -> None:
    async def work(site: Site, bench: Bench) -> None:
        (order,) = await delivered(bench, Kind.REFUSED, note=f"pour Mme Dupont {EVIL}")
        viewer, jeanne, paul = [
            await site.enter(name, role)
            for name, role in (("v", Role.VIEWER), ("jeanne", Role.OPERATOR), ("paul", Role.OPERATOR))
        ]
        address = f"/order/{order}"
        assert (await viewer.post(f"{address}/unmask", {"reason": "curious"})).status_code == 403
        assert (await jeanne.post(f"{address}/unmask", {"reason": " "})).status_code == 422
        assert (await jeanne.post(f"{address}/unmask", {"reason": "x", "csrf": "forged"})).status_code == 403
        assert (await jeanne.post(f"/order/{uuid4()}/unmask", {"reason": "no such"})).status_code == 404
        assert await bench.run(text("SELECT 1 FROM operations")) == []
        assert (await jeanne.post(f"{address}/unmask", {"reason": "she called"})).status_code == 303
        shown = await jeanne.get(address)
        assert "Mme Dupont" in shown.text and "refused!" in shown.text and EVIL not in shown.text
        assert "jeanne: unmask" in text_of(await viewer.get(address)), "it is part of the order's life"
        for other in (viewer, paul):
            assert "Dupont" not in (await other.get(address)).text
        (told,) = await bench.run(text("SELECT operator, act, reason, detail FROM operations"))
        assert tuple(told) == ("jeanne", "unmask", "she called", {"order": str(order)})
        await bench.sql("ALTER TABLE operations DISABLE TRIGGER ALL")
        await bench.sql("UPDATE operations SET at = at - interval '6 minutes'")
        assert "Dupont" not in (await jeanne.get(address)).text

    at_console(work)


def test_what_is_ours_is_shown_and_what_an_erp_says_is_not() -> None:
    assert said("no answer in time").shown == "no answer in time"
    assert said("the ERP refuses the order: M. Martin") == said("the ERP refuses the order: anything else")
    assert said("M. Martin: no answer in time").shown == ""
    assert line_reason("out of stock").shown and line_reason("RUPTURE").shown
    assert line_reason("Mme Dupont").hidden and not line_reason("Mme Dupont").shown
    english, french = languages("UTC")["en"], languages("UTC")["fr"]
    assert say("stocktaking, says M. Martin", english) == "stocktaking, says M. Martin", "an operator's own words"
    order, detail = str(UUID(int=7)), "the answer is about another order: M. Martin"
    assert say(Sentence(Code.PROVED, evidence="wrong_digest", order=order, detail=detail), english) == (
        f"wrong_digest, order {UUID(int=7)}: the answer is about another order (masked)"
    )
    for code in (Code.SUSPICIOUS, Code.MET):
        ours, theirs = (Sentence(code, detail=each) for each in ("orders are sent elsewhere", "M. Martin"))
        assert say(ours, english) == ours
        assert say(theirs, english) == theirs.replace("M. Martin", "(masked)")
    assert say(Sentence(Code.MET, detail="no answer in time: M."), french) == "pas de réponse à temps (masqué)"
    assert say(None, english) == ""


def test_a_pharmacys_page_says_what_is_missing_and_why(at_console: Callable[[Work], None]) -> None:
    async def work(site: Site, bench: Bench) -> None:
        jeanne = await site.enter()
        await delivered(bench, Kind.ACCEPTED)
        assert "Nothing is missing" in text_of(await jeanne.get("/pharmacy/990000002?show=missing"))
        await delivered(bench, Kind.ACCEPTED, lines=[{"product": MEDICINE, "quantity": 3}])
        assert f"{MEDICINE}: 1 of 3 boxes" in text_of(await jeanne.get("/pharmacy/990000002?show=missing"))
        await delivered(bench, Kind.REFUSED)
        page = text_of(await jeanne.get("/pharmacy/990000002?show=missing"))
        assert "the ERP refused it" in page and "masked" in page
        await bench.accept(1)
        assert "waits for its turn" in text_of(await jeanne.get("/pharmacy/990000002"))
        for state, why in (
            ("circuit = 'open', probe_at = now()", "is down since"),
            ("paused = true", "is paused"),
            ("quarantined = true, quarantined_at = now(), quarantined_by = 'paul'", "by paul"),
        ):
            await bench.sql(f"UPDATE backends SET {state}")
            assert why in text_of(await jeanne.get("/pharmacy/990000002")), state

    at_console(work)


def test_an_operator_cancels_while_the_order_is_ours(at_console: Callable[[Work], None]) -> None:
    async def work(site: Site, bench: Bench) -> None:
        state, words = site.app.state.console, languages("UTC")["en"]
        (ours,) = await bench.accept(1)
        chosen = acts.choose({"order": str(ours)})
        seen = await acts.preview(state, chosen, words)
        assert (seen.orders, seen.hindered) == (1, None)
        with acting_as("jeanne"):
            assert (await acts.run(state, chosen, "they called", Quiet()))["cancelled"] == 1
            with pytest.raises(NotSo, match="cancelled already"):
                await acts.run(state, chosen, "twice", Quiet())
        (told,) = await bench.run(text("SELECT operator, act, reason FROM operations"))
        assert tuple(told) == ("jeanne", "order cancel", "they called")
        assert (await acts.preview(state, chosen, words)).hindered
        (theirs,) = await delivered(bench, Kind.ACCEPTED)
        chosen = acts.choose({"order": str(theirs)})
        assert (await acts.preview(state, chosen, words)).hindered
        with pytest.raises(TooLate):
            await acts.run(state, chosen, "too late", Quiet())
        for bad in ({}, {"order": "x"}):
            with pytest.raises(Malformed):
                acts.choose(bad)

    at_console(work)


FILL = """
INSERT INTO orders (id, pharmacy, reference, body, digest, client)
SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid), 'P' || n % 20, 'R-' || n, '{"lines":[]}', '', 't'
FROM generate_series(1, 20000) n
"""


def test_a_page_reads_no_more_orders_than_it_shows(at_console: Callable[[Work], None]) -> None:
    async def work(site: Site, bench: Bench) -> None:
        await bench.sql(FILL)
        await bench.sql(
            "INSERT INTO deliveries (order_id, state, backend, priority, cut_off) "
            "SELECT id, 'accepted', 'erp', 1, 'infinity' FROM orders"
        )
        await bench.sql(f"INSERT INTO order_products SELECT {MEDICINE}, id FROM orders")
        await bench.sql("ANALYZE")
        queries: list[tuple[Any, dict[str, Any]]] = [
            (asking.BY_PHARMACY, {"q": "P3", "before": asking.LAST, "most": 51}),
            (pharmacy.ORDERS, {"q": "P3", "before": asking.LAST, "most": 51}),
            (asking.BY_REFERENCE, {"q": "R-9000", "before": asking.LAST, "most": 51}),
            (asking.BY_BEGINNING, {"from": "R-", "after": asking.FIRST, "upto": "R.", "most": 51}),
        ]
        async with bench.owner.connect() as connection:
            for query, values in queries:
                explained = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.text}")
                plan = (await connection.execute(explained, values)).scalar_one()
                assert read(plan if isinstance(plan, list) else json.loads(plan)) <= 102 + 2, query.text

    at_console(work)


def read(plan: list[dict[str, Any]]) -> float:
    """Rows that the scans of a plan brought up or threw away."""

    def below(node: dict[str, Any]) -> float:
        own = 0.0
        if "Scan" in node["Node Type"] and "Subquery" not in node["Node Type"]:
            own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        return own + sum(below(each) for each in node.get("Plans", ()))

    return below(plan[0]["Plan"])
