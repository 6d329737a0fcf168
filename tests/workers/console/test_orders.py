"""The list of orders at the console: its filters, its pages, its files."""

import csv
import html
import io
import json
from collections.abc import Callable

from sqlalchemy import text

from orders.queries import order_list
from tests.bench import MEDICINE, Bench
from tests.workers.console.journalled import Work, die
from tests.workers.console.pages import forms_of, links_of
from tests.workers.console.site import Site, text_of
from workers.console.access.people import Role

FRENCH = {"Accept-Language": "fr"}


def test_orders_are_filtered_paged_and_saved(at_console: Callable[[Work], None]) -> None:
    async def work(site: Site, bench: Bench) -> None:
        ids = [str(each) for each in sorted(await bench.accept(60), reverse=True)]
        [urgent] = await bench.accept(1, client="c2", pharmacy="P-9", reference="@SUM(A1)", priority="urgent")
        karim = await site.enter("karim", Role.VIEWER)

        async def listed(**fields: str) -> list[str]:
            answer = await karim.get("/orders", params=fields)
            assert answer.status_code == 200, answer.text
            return [each.removeprefix("/order/") for each in links_of(answer) if each.startswith("/order/")]

        assert await listed() == [str(urgent), *ids[:49]]
        everything = {"state": "accepted", "backend": "erp", "client": "t", "product": "34009 373 1804 4"}
        assert await listed(**everything, since="1h") == ids[:50]
        for name, value in {"client": "c2", "priority": "urgent", "pharmacy": "P-9"}.items():
            assert await listed(**{name: value}) == [str(urgent)]
        assert await listed(since="1900-01-01T00:00:00Z", client="c2") == [str(urgent)]
        assert await listed(until="1h") == await listed(reason="refused") == []
        first = await karim.get("/orders", params=everything)
        [form] = [each for each in forms_of(first) if each.action == "/orders"]
        assert {name: value for name, [value] in form.fields.items() if value} == everything
        [more] = [each for each in links_of(first) if "after=" in each]
        second = await karim.get(more)
        assert [each.removeprefix("/order/") for each in links_of(second) if each.startswith("/order/")] == ids[50:]
        assert (
            await karim.get(more.replace("state=accepted", "state=dead"))
        ).status_code == 422  # another list's cursor

        await bench.accept(1, reference="=1+1", client="c3")
        [saved] = [each for each in links_of(await karim.get("/orders?client=c2")) if each.startswith("/orders.csv")]
        answer = await karim.get(saved)
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["content-disposition"].startswith('attachment; filename="orders-')
        [row] = csv.DictReader(io.StringIO(answer.text, newline=""))
        assert (row["id"], row["reference"], row["priority"]) == (str(urgent), "'@SUM(A1)", "urgent")
        lines = (await karim.get("/orders.ndjson?client=t")).text.splitlines()
        assert [json.loads(each)["id"] for each in lines] == ids
        assert (await karim.get("/orders.xls")).status_code == 422
        assert (await site.stranger().get("/orders.csv")).status_code == 303

    at_console(work)


def test_a_list_of_which_none_can_be_cancelled_says_why(at_console: Callable[[Work], None]) -> None:
    may_be_there = (
        "None of these can be cancelled, for the ERP may have them already: pause it first, and each is soon "
        "delivered, or waits and can be cancelled."
    )
    is_there = "None of these can be cancelled here: the ERP has them."
    narrow = "To cancel them, choose by something else beside the state."
    french = "Aucune ne peut être annulée, car l'ERP les a peut-être déjà : mettez-le d'abord en pause"

    async def work(site: Site, bench: Bench) -> None:
        jeanne, karim = await site.enter(), await site.enter("karim", Role.VIEWER)

        async def told(query: str, **headers: str) -> str:
            return html.unescape(text_of(await jeanne.get(f"/orders?{query}", headers=headers)))

        for state, why in {"dispatched": may_be_there, "delivering": may_be_there, "submitted": is_there}.items():
            for query in (f"state={state}", f"state={state}&client=t"):
                assert why in await told(query), query
        assert is_there in await told("state=delivered")
        assert narrow in await told("state=accepted") and narrow in await told("state=dead")
        for query in ("", "client=t", "state=cancelled", "state=accepted&client=t"):
            assert "ancel" not in (await told(query)).replace("cancelled", "").replace("Cancel them for their", "")
        assert french in await told("state=delivering", **FRENCH)
        assert "None of these" not in text_of(await karim.get("/orders?state=delivering")), (
            "who may not, is told nothing"
        )

    at_console(work)


def test_what_is_wrong_with_a_filter_is_said_at_its_field_in_ones_language(at_console: Callable[[Work], None]) -> None:
    async def work(site: Site, bench: Bench) -> None:
        karim = await site.enter("karim", Role.VIEWER)
        wrong = {"product": "3400937318045", "since": "soon", "state": "lost", "backend": "No!", "client": "c2"}
        answer = await karim.get("/orders", params=wrong, headers=FRENCH)
        assert answer.status_code == 422
        [form] = [each for each in forms_of(answer) if each.action == "/orders"]
        assert (form.fields["product"], form.fields["client"]) == (["3400937318045"], ["c2"])
        for fault in ("sa clé de contrôle est fausse", "doit être un âge comme 6h", "de ceux qui sont proposés"):
            assert fault in text_of(answer), fault
        assert "product-fault" in answer.text

    at_console(work)


def test_a_list_says_that_it_looks_on_and_since_when_products_are_known(at_console: Callable[[Work], None]) -> None:
    async def work(site: Site, bench: Bench) -> None:
        await die(site, 5)
        assert order_list.LOOKED == 2_000
        await bench.run(
            text(
                "WITH o AS (INSERT INTO orders (id, pharmacy, reference, body, digest, client) "
                "SELECT gen_random_uuid(), 'P', n, '{}', 'd', 'many' FROM generate_series(1, 2100) n RETURNING id) "
                "INSERT INTO deliveries (order_id, state, backend, priority, cut_off) "
                "SELECT id, 'delivered', 'erp', 1, 'infinity' FROM o"
            )
        )
        karim = await site.enter("karim", Role.VIEWER)
        answer = await karim.get("/orders", params={"client": "nobody"})
        assert "A page looks at 2,000 orders at most: there may be more further back." in text_of(answer)
        [more] = [each for each in links_of(answer) if "after=" in each]
        assert "No further order fits." in text_of(await karim.get(more))
        assert "No order fits." in text_of(await karim.get("/orders", params={"state": "dead", "client": "nobody"}))
        answer = await karim.get("/orders", params={"product": MEDICINE})
        assert "The index of products is still being filled" in text_of(answer)

    at_console(work)
