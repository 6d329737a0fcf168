"""Every act of the console, from the link that its room shows to what it left in a real journal."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from config.settings import Settings
from tests.bench import Bench
from tests.recovery import Recovery, backlog
from tests.sealing import KEY, some_life
from tests.waiting import auntil
from tests.workers.console.journalled import die, simulated
from tests.workers.console.pages import Form, forms_of, links_of
from tests.workers.console.site import Browser, Site, serving, text_of
from workers.console.access.people import Person, Role
from workers.console.acts import batches, table
from workers.console.recovery import cached
from workers.console.registry import ACTS
from workers.delivery.deliver import deliver
from workers.erp.http import HttpErp
from workers.operations import acting_as, record

ON_BACKENDS = {"pause", "resume", "rate", "quarantine", "release", "release-propose", "release-approve"}
ON_REPLAYS = {
    "replay-start",
    "replay-pause",
    "replay-resume",
    "replay-next",
    "replay-hold",
    "replay-unhold",
    "replay-cancel",
    "drain",
}
ON_ERPS = {"reconcile", "resend", "divert"}
ON_DEAD = {"dead-replay", "dead-discard"}
ON_ORDERS = {"order-cancel"}
ON_LISTS = {"orders-cancel"}
ON_REPORTS = {"audit", "report"}

WHY = "the ERP is back"
BACKENDS = """
default = "erp"
[backends.erp]
url = "{}"
[backends.other]
url = "http://127.0.0.1:1"
"""


class Walk:
    """Somebody who goes by the links and forms of the pages, and does what they offer."""

    def __init__(self, site: Site, browser: Browser, viewer: Browser) -> None:
        self.site, self.browser, self.viewer = site, browser, viewer
        self.did: set[str] = set()

    async def page(self, path: str) -> httpx.Response:
        answer = await self.browser.get(path)
        assert answer.status_code == 200, (path, text_of(answer))
        return answer

    async def link(self, page: str, kind: str) -> str:
        """Where that page's link to the act leads."""
        found = [each for each in links_of(await self.page(page)) if each.partition("?")[0] == f"/acts/{kind}"]
        assert found, (page, kind)
        return found[0]

    async def form(self, page: str, kind: str, **values: str) -> str:
        """The address that the page's form for the act leads to, these fields filled in."""
        answer = await self.page(page)
        forms = [each for each in forms_of(answer) if f"/acts/{kind}" in (each.action, *each.buttons)]
        for each in forms:
            if {*values} <= {*each.fields}:
                return self.address(each.fill(**values), kind)
        raise AssertionError((page, kind, [each.fields for each in forms]))

    def address(self, form: Form, kind: str) -> str:
        return f"/acts/{kind}?{httpx.QueryParams(form.fields)}"

    async def look(self, path: str) -> tuple[str, Form]:
        """What the act's page says, and its form, filled in; the same in French."""
        french = await self.browser.get(path, headers={"Accept-Language": "fr"})
        assert french.status_code == 200, text_of(french)
        assert "Ce qui sera touché" in text_of(french)
        answer = await self.page(path)
        [form] = [each for each in forms_of(answer) if each.action.startswith("/acts/")]
        first, button, cancel = (answer.text.index(each) for each in (" autofocus", "<button type", "Do nothing</a>"))
        assert answer.text.index('id="because"') < first < button < cancel
        assert "Ten at most" not in answer.text[:cancel], "what there is to do stands before the sample"
        form.fill(because=WHY)
        if "confirm" in form.fields:
            wanted = re.search(r"Type (.+?) to confirm", text_of(answer))
            assert wanted is not None
            form.fill(confirm=wanted[1])
        return text_of(answer), form

    async def begin(self, path: str) -> str:
        """Send the form of the act's page twice at once; the page of what it began."""
        kind = kind_of(path)
        _, form = await self.look(path)
        sent = await asyncio.gather(*(self.browser.post(form.action, dict(form.fields)) for _ in range(2)))
        assert {each.status_code for each in sent} == {303}, [text_of(each) for each in sent]
        [where] = {each.headers["location"] for each in sent}
        self.did.add(kind)
        return str(where)

    async def do(self, path: str, *records: str) -> httpx.Response:
        """Do it to its end; these it leaves in the record, each once. The page of what came of it."""
        where, act = await self.begin(path), ACTS[kind_of(path)]
        if act.after:
            where = await self.shown(where)
        answer = await self.over(where) if act.long else await self.page(where)
        assert "Done" in text_of(answer), text_of(answer)
        left = await self.left(where)
        assert [(row.act, row.reason) for row in left] == [(each, WHY) for each in records]
        listed = [each for each in links_of(answer) if re.fullmatch(r"/operations/\d+", each)]
        assert listed == [f"/operations/{row.id}" for row in left]
        return answer

    async def shown(self, where: str) -> str:
        """The page of the act that led to where the stages of a replay are."""
        page = await self.page(where)
        stages, none = "Stages of the replay" in page.text, "No replay is under way." in page.text
        assert stages or none, text_of(page)
        assert "Done: " in text_of(page)
        return next(each for each in links_of(page) if each.startswith("/act/"))

    async def over(self, where: str) -> httpx.Response:
        async def ended() -> bool:
            return "HX-Refresh" in (await self.browser.get(f"{where}/progress")).headers

        await auntil(ended)
        return await self.page(where)

    async def left(self, where: str) -> list[Any]:
        """What the record has of that act."""
        of = "SELECT * FROM operations WHERE detail ->> 'act' = :act ORDER BY id"
        return await self.sql(of, act=where.rpartition("/")[2])

    async def sql(self, statement: str, **values: object) -> list[Any]:
        async with self.site.owner.connect() as connection:
            found = await connection.execute(text(statement), values)
            return list(found.all()) if found.returns_rows else []


def kind_of(path: str) -> str:
    return re.split(r"[/?]", path)[2]


async def walk(site: Site, name: str = "jeanne", role: Role = Role.OPERATOR) -> Walk:
    return Walk(site, await site.enter(name, role), await site.enter("vera", Role.VIEWER))


def bench(site: Site, settings: Settings) -> Bench:
    return Bench(site.app.state.console.engine, settings, site.logins)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The room's one reading is made anew for every page."""
    monkeypatch.setattr(cached, "FRESH", 0.0)
    monkeypatch.setattr(cached, "SHARE", 0)


def test_no_act_is_left_out() -> None:
    assert {*ACTS} == ON_BACKENDS | ON_REPLAYS | ON_ERPS | ON_DEAD | ON_ORDERS | ON_LISTS | ON_REPORTS


def test_acts_on_a_backend(settings: Settings) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            it = await walk(site, "marc", Role.APPROVER)
            page = await it.do(await it.form("/backend/erp", "pause"), "pause")
            assert "/backend/erp" in links_of(page)
            await it.do(await it.form("/backend/erp", "resume"), "resume")
            assert "Orders a second at most 7.5" in text_of(
                await it.do(await it.form("/backend/erp", "rate", rate="7.5"), "rate")
            )
            await it.do(await it.form("/backend/erp", "quarantine"), "quarantine")
            await it.do(await it.form("/backend/erp", "release"), "release")
        async with serving(settings.replace(four_eyes=True)) as site:
            one, two = await walk(site), await walk(site, "marc", Role.APPROVER)
            await one.do(await one.form("/backend/erp", "quarantine"), "quarantine")
            await one.do(await one.form("/backend/erp", "release-propose"), "release proposed")
            await two.do(await two.form("/backend/erp", "release-approve"), "release")
            assert it.did | one.did | two.did == ON_BACKENDS

    asyncio.run(work())


def test_a_replay_steered_by_its_page_and_a_drain_that_is_stopped(settings: Settings) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            it, erp = await walk(site), Recovery(bench(site, settings))
            await backlog(erp.bench, 12)
            form = next(each for each in forms_of(await it.page("/recovery/replay")) if each.boxes)
            page = await it.do(it.address(form.tick("hold", "yes"), "replay-start"), "replay")
            assert "/recovery/replays/1" in links_of(page)
            assert "Waits after each stage yes" in text_of(page)
            await it.do(await it.link("/recovery", "replay-unhold"), "replay hold")
            await it.do(await it.link("/recovery", "replay-hold"), "replay hold")
            await erp.rounds()
            late = await it.link("/recovery", "replay-next")
            await it.do(late, "replay next")
            gone = await it.page(late)
            assert "It is not so any more" in text_of(gone)
            assert "Go ahead" not in text_of(gone)
            await it.do(await it.link("/recovery", "replay-pause"), "replay pause")
            await it.do(await it.link("/recovery", "replay-resume"), "replay resume")
            await it.do(await it.link("/recovery", "replay-cancel"), "replay cancel")
            where = await it.begin(await it.link("/recovery", "drain"))
            [stop] = [each for each in forms_of(await it.page(where)) if each.action.endswith("/stop")]
            assert (await it.viewer.post(stop.action)).status_code == 403
            assert (await it.browser.post(stop.action)).status_code == 303
            said = text_of(await it.over(where))
            assert "It was stopped." in said
            assert "jeanne stopped it" in said
            french = text_of(await it.browser.get(where, headers={"Accept-Language": "fr"}))
            assert "Arrêtée par jeanne." in french and "stopped" not in french
            assert [row.act for row in await it.left(where)] == ["drain"]
            await erp.rounds()
            await it.do(await it.link("/recovery", "drain"), "drain")
            assert it.did == ON_REPLAYS

    asyncio.run(work())


def test_a_reconciliation_stopped_resumed_by_its_page_and_resent_and_a_divert(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.console.acts.follow.LOOK_EVERY", 0.01)

    async def work(it: Walk, bench: Bench, erp: Any) -> None:
        await backlog(bench, 20)
        with_it = HttpErp(bench.settings)
        while due := await bench.dispatch():
            await deliver(bench.resources(with_it), due)  # type: ignore[arg-type]
        await with_it.close()
        erp.conduct.book.forget(last=1.0)
        erp.conduct.dial = erp.conduct.dial.model_copy(update={"hanging": True})
        where = await it.begin(await it.form("/recovery/reconcile", "reconcile", backend="erp", since="1h"))
        assert (await it.browser.post(f"{where}/stop")).status_code == 303
        stopped = await it.over(where)
        assert "jeanne stopped it" in text_of(stopped)
        assert "/recovery/reconciliations/1" in links_of(stopped)
        erp.conduct.dial = erp.conduct.dial.model_copy(update={"hanging": False})
        run = "/recovery/reconciliations/1"
        page = await it.do(await it.link(run, "reconcile"), "reconcile resume")
        assert "Missing 20" in text_of(page)
        page = await it.do(await it.link(run, "resend"), "resend")
        assert "Orders put back 20" in text_of(page)
        ids = await backlog(bench, 2)
        pasted = f"  {ids[0]}\r\n{ids[1]}\r\n\r\n"
        named = await it.form("/recovery/divert", "divert", to="other", ids=pasted)
        assert "2 orders" in (await it.look(named))[0]
        page = await it.do(named, "divert")
        assert "Orders diverted 2" in text_of(page)
        assert "To the backend other" in text_of(page)
        assert await it.sql("SELECT count(*) FROM deliveries WHERE backend = 'other'") == [(2,)]
        assert it.did == ON_ERPS

    async def main() -> None:
        async with simulated(tmp_path) as erp:
            (tmp_path / "backends.toml").write_text(BACKENDS.format(erp.url))
            more = {"backends": tmp_path / "backends.toml", "erp_url": erp.url, "erp_timeout": 5.0}
            changed = settings.replace(**more)
            async with serving(changed) as site:
                await work(await walk(site), bench(site, changed), erp)

    asyncio.run(main())


def test_dead_letters_by_group_by_selection_and_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH", 4)

    async def work() -> None:
        async with serving(settings) as site:
            it = await walk(site)
            one, two = (f"/dead/{each['id']}" for each in await die(site, 20, kinds=2))
            page = await it.do(await it.link(one, "dead-replay"), "replay", "replay", "replay")
            assert "Replayed 10" in text_of(page)
            assert "Still dead letters 0" in text_of(page)
            assert one in links_of(page)
            [selection] = [each for each in forms_of(await it.page(two)) if each.boxes]
            chosen = selection.boxes["id"]
            path = it.address(selection.tick("id", *chosen[:3]), "dead-replay")
            assert "Replayed 3" in text_of(await it.do(path, "replay"))
            await it.do(await it.link(f"/order/{chosen[3]}", "dead-replay"), "replay")
            path = await it.link(two, "dead-discard")
            _, form = await it.look(path)
            assert form.fields["confirm"] == ["6"]
            wrong = await it.browser.post(form.action, {**form.fields, "confirm": "7"})
            assert wrong.status_code == 422
            assert "Type 6 here to go ahead." in text_of(wrong)
            page = await it.do(path, "discard", "discard")
            assert "Discarded 6" in text_of(page)
            assert await it.sql("SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state") == [
                ("accepted", 14),
                ("discarded", 6),
            ]
            assert it.did == ON_DEAD

    asyncio.run(work())


def test_a_group_that_changed_meanwhile_is_shown_anew(settings: Settings) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            jeanne, paul = await walk(site), await walk(site, "paul")
            [group] = await die(site, 5)
            path = await jeanne.link(f"/dead/{group['id']}", "dead-replay")
            _, form = await jeanne.look(path)
            [some] = [each for each in forms_of(await paul.page(f"/dead/{group['id']}")) if each.boxes]
            oldest = some.boxes["id"][0]
            await paul.do(paul.address(some.tick("id", oldest), "dead-discard"), "discard")
            for language, said in (("en", "Things have changed since you looked"), ("fr", "rien n'a été fait")):
                answer = await jeanne.browser.post(
                    form.action, dict(form.fields), headers={"Accept-Language": language}
                )
                assert answer.status_code == 409
                assert said in text_of(answer)
            answer = await jeanne.browser.post(form.action, dict(form.fields))
            assert "What You saw Now" in text_of(answer)
            [again] = [each for each in forms_of(answer) if each.action == form.action]
            assert again.fields["because"] == [WHY]
            sent = await jeanne.browser.post(again.action, dict(again.fields))
            assert sent.status_code == 303
            assert "Replayed 4" in text_of(await jeanne.over(sent.headers["location"]))

    asyncio.run(work())


def test_an_order_is_cancelled_and_its_free_text_asked_for(settings: Settings) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            it = await walk(site)
            [order] = await bench(site, settings).accept(1, note="for Mme Dupont")
            page = f"/order/{order}"
            assert "Dupont" not in (await it.page(page)).text
            [ask] = [each for each in forms_of(await it.page(page)) if each.action.endswith("/unmask")]
            assert (await it.viewer.post(ask.action, {"reason": WHY})).status_code == 403
            assert (await it.browser.post(ask.action, {"reason": WHY})).status_code == 303
            assert "for Mme Dupont" in (await it.page(page)).text
            assert "Dupont" not in (await it.viewer.get(page)).text
            path = await it.link(page, "order-cancel")
            _, form = await it.look(path)
            [(reference,)] = await it.sql("SELECT reference FROM orders")
            assert form.fields["confirm"] == [reference]
            over = await it.do(path, "order cancel")
            assert page in links_of(over)
            assert "It is cancelled already." in text_of(await it.page(path))
            assert await it.sql("SELECT act, operator FROM operations ORDER BY id") == [
                ("unmask", "jeanne"),
                ("order cancel", "jeanne"),
            ]
            assert it.did == ON_ORDERS

    asyncio.run(work())


def test_all_that_a_filter_fits_is_acted_on_and_nothing_that_came_later(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH", 4)
    (tmp_path / "backends.toml").write_text(BACKENDS.format("http://127.0.0.1:1"))
    changed = settings.replace(backends=tmp_path / "backends.toml")

    async def work() -> None:
        async with serving(changed) as site:
            it, at = await walk(site), bench(site, changed)
            await die(site, 6)
            path = await it.link("/orders?state=dead&backend=erp&priority=normal", "dead-replay")
            await die(site, 2, each=-60)  # died after the list was shown
            said, _ = await it.look(path)
            assert ("Priority normal" in said, "6 orders" in said) == (True, True)
            assert "Replayed 6" in text_of(await it.do(path, "replay", "replay"))
            [(detail,)] = await it.sql("SELECT detail FROM operations ORDER BY id LIMIT 1")
            assert (detail["orders"], detail["choice"]["priority"], detail["choice"]["backend"]) == (4, "normal", "erp")
            await it.sql("UPDATE deliveries SET settled_at = now() WHERE state = 'dead'")
            await it.do(await it.link("/orders?reason=refused", "dead-discard"), "discard")

            await at.accept(6, client="c2", pharmacy="P-2")
            page = "/orders?state=accepted&client=c2&since=1h"
            path = await it.link(f"{page}&backend=erp", "orders-cancel")
            assert (await it.look(path))[1].fields["confirm"] == ["6"]
            [late] = await at.accept(1, client="c2")
            over = text_of(await it.do(path, "orders cancel", "orders cancel"))
            assert ("Orders cancelled 6" in over, "Still there 0" in over) == (True, True)
            assert await it.sql("SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY state") == [
                ("accepted", 7),
                ("cancelled", 6),
                ("discarded", 2),
            ]
            path = await it.link(page, "orders-cancel")
            _, form = await it.look(path)
            await it.sql("UPDATE deliveries SET unsure = true WHERE order_id = :id", id=late)
            answer = await it.browser.post(form.action, dict(form.fields))
            assert (answer.status_code, "None of them is left that can be cancelled." in text_of(answer)) == (409, True)
            assert (await it.browser.get(path.replace("client=c2&", ""))).status_code == 200
            await it.sql("UPDATE deliveries SET state = 'dispatched', unsure = false WHERE order_id = :id", id=late)
            told = text_of(await it.browser.get(path))
            assert told.count("Pause the backend first: each is then delivered soon") == 2
            assert "On their way to the ERP, not among them 1." in told
            await it.sql("UPDATE deliveries SET state = 'accepted', unsure = true WHERE order_id = :id", id=late)
            assert (await it.browser.get("/acts/orders-cancel?state=accepted")).status_code == 422
            assert (await it.viewer.get(path)).status_code == 403

            await at.accept(3, client="c3", lines=[{"product": "3400938617061", "quantity": 1}])
            product = "/orders?state=accepted&product=3400938617061"
            path = await it.form(product, "divert", to="other")
            assert "Orders diverted 3" in text_of(await it.do(path, "divert"))
            path = await it.link("/orders?state=accepted&client=c3&backend=other", "replay-start")
            await it.do(path, "replay")
            assert await it.sql("SELECT backend, orders FROM replays") == [("other", 3)]
            assert it.did == ON_DEAD | ON_LISTS | {"divert", "replay-start"}
            assert "With all that match" not in (await it.viewer.get(page)).text

    asyncio.run(work())


def test_a_report_is_made_and_taken_along(settings: Settings) -> None:
    sealing = settings.replace(seal_key=KEY, anchor=str(settings.files.data_dir / "anchors.ndjson"))

    async def work() -> None:
        async with serving(sealing) as site:
            it = await walk(site)
            await some_life(bench(site, sealing))
            assert "All is well yes" in text_of(await it.do(await it.link("/report", "audit"), "audit"))
            page = await it.do(await it.form("/report", "report", since="2024-10-19T08:00"), "audit", "report")
            [made] = {each for each in links_of(page) if re.fullmatch(r"/report/[0-9a-f-]{36}", each)}
            files = [each for each in links_of(await it.page(made)) if each.startswith(f"{made}.")]
            assert {f"{made}.html", f"{made}.pdf"} <= {*files}
            assert (await it.page(f"{made}.html")).text.startswith("<!doctype html>")
            assert (await it.page(f"{made}.pdf")).content.startswith(b"%PDF-")
            assert it.did == ON_REPORTS

    asyncio.run(work())


def test_of_an_act_whose_end_nobody_saw_only_its_own_operations_are_shown(settings: Settings) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            it, number = await walk(site), uuid4()
            engine = site.app.state.console.engine
            who = Person("jeanne", Role.OPERATOR, it.browser.csrf)
            assert await table.begin(engine, number, ACTS["dead-replay"], {}, {}, WHY, who)
            for act in (number, uuid4(), None):
                with acting_as("jeanne", act):
                    async with engine.connect() as connection:
                        await record(connection, "replay", WHY, {"orders": 1})
            await it.sql("UPDATE acts SET beat_at = now() - interval '1 hour', started_at = now() - interval '2 hours'")
            page = await it.page(f"/act/{number}")
            assert "nobody saw how it ended" in text_of(page)
            assert [each for each in links_of(page) if each.startswith("/operations/")] == ["/operations/1"]

    asyncio.run(work())
