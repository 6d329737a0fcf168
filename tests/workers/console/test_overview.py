"""The overview: what it says of each state of things, and that its figures are those of `relais status`."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from config.settings import Settings
from orders.queries import backends as backend_rows
from orders.states import CodeKind
from tests.journal import Journal
from tests.machines.roles import above
from tests.past import HOURS, Past, leading
from tests.waiting import auntil
from tests.workers.console.site import Browser, Site, serving, text_of
from workers.console.access.people import Role
from workers.console.i18n import NONE, languages
from workers.console.live import poller
from workers.monitoring.status import status


@pytest.fixture(autouse=True)
def beats_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for a beat."""
    for name, seconds in (("BEAT", 0.05), ("SURVEY", 0.05), ("SHARE", 0)):
        monkeypatch.setattr(poller, name, seconds)


def on_site(settings: Settings, work: Callable[[Site, Browser], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with serving(settings) as site:
            return await work(site, await site.enter())

    return asyncio.run(run())


async def sql(site: Site, statement: str) -> None:
    async with site.owner.connect() as connection:
        await connection.execute(text(statement))


async def says(browser: Browser, said: str, **options: Any) -> str:
    found = ""

    async def shown() -> bool:
        nonlocal found
        found = text_of(await browser.get("/", **options))
        return said in found

    await auntil(shown, what=said)
    return found


async def lead_somewhere(browser: Browser, least: int) -> None:
    """Every button of the overview opens a page that has what it takes."""
    hrefs = set(re.findall(r'class="button[^"]*" href="([^"]+)"', (await browser.get("/")).text))
    assert len(hrefs) >= least
    answers = {href: (await browser.get(href)).status_code for href in hrefs}
    assert set(answers.values()) == {200}, answers


def test_what_an_erp_owes_and_has_no_name_for_and_what_is_promised(settings: Settings, journal: Journal) -> None:
    late, soon, unknown, *unmapped = journal.accept(5)
    journal.owe(late, soon, unknown)
    journal.bury(unmapped, "unmapped")
    journal.not_mapped((CodeKind.PHARMACY, "P1"))
    journal.sql("UPDATE backends SET set_aside = 3, set_aside_at = '2026-01-05T11:00:00Z'")

    async def work(site: Site, jeanne: Browser) -> None:
        english = await says(jeanne, "Decision overdue")
        assert "2 orders, the oldest sent" in english
        assert "erp owes its decision on 2 orders" in english
        assert "1 code is not mapped for erp" in english
        assert "at most one of an order, detected" in english
        assert "3 unread answers of erp set aside" in english
        assert "Answers set aside 3, as seen" in " ".join(english.split())
        french = await says(jeanne, "Décision en retard", headers={"Accept-Language": "fr"})
        assert "Codes sans correspondance" in french
        assert "Réponses mises de côté" in french

    on_site(settings, work)


def test_states_in_words(settings: Settings) -> None:
    async def work(site: Site, jeanne: Browser) -> None:
        await says(jeanne, "No worker has ever run here")
        await sql(site, "INSERT INTO backends (name, \"window\") VALUES ('erp', 10)")
        await says(jeanne, "Nobody works")
        await sql(site, "UPDATE backends SET paused = true, held_why = '\"stocktaking\"'")
        assert "Resume" in await says(jeanne, "erp is paused: stocktaking")
        await lead_somewhere(jeanne, 4)
        page = (await jeanne.get("/")).text
        order = ('id="now"', "resume?", "replay?", "drain?", 'button grave" href="/acts/quarantine?', 'id="figures"')
        assert [page.index(each) for each in order] == sorted(page.index(each) for each in order), "first things first"
        assert "divert?" not in page, "there is nowhere to divert to"
        await sql(site, "INSERT INTO backends (name, \"window\") VALUES ('other', 10)")

        async def diverts() -> bool:
            return (await jeanne.get("/")).text.count("divert?") == 2

        await auntil(diverts)
        await sql(site, "DELETE FROM backends WHERE name = 'other'")
        await sql(
            site,
            "UPDATE backends SET paused = false, quarantined = true, quarantined_at = now(), "
            "quarantined_by = 'luc', held_why = '\"<b>odd</b> receipts\"'",
        )
        assert "<b>odd" not in (await jeanne.get("/")).text
        shown = await says(jeanne, "by luc: &lt;b&gt;odd&lt;/b&gt; receipts")
        assert "Release" in shown
        await lead_somewhere(jeanne, 3)
        await says(jeanne, "erp est en quarantaine depuis", headers={"Accept-Language": "fr"})
        await sql(
            site, "UPDATE backends SET quarantined = false, circuit = 'open', probe_at = now(), why = '\"refused\"'"
        )
        await says(jeanne, "; the next order due is the canary")
        await sql(
            site,
            "INSERT INTO replays (backend, choice, state, stage, why, started_by) "
            "VALUES ('erp', '{}', 'holding', 10, '\"too slow\"', 'luc')",
        )
        await says(jeanne, "The replay of erp holds at stage 10: too slow")
        luc = await site.enter("luc", Role.VIEWER)
        assert "/acts/" not in (await luc.get("/")).text

    on_site(settings, work)


def test_one_forecast_everywhere_and_no_cut_off_is_promised_while_nothing_flows(settings: Settings) -> None:
    past = Past(Journal(above(str(settings.journal.url))))
    past.came(200, HOURS * 3, HOURS, "delivered")
    past.took(200, 20)
    soon, later = (datetime.now(UTC) + HOURS * after for after in (0.001, 5))
    past.came(50, HOURS, HOURS * 0, "accepted", cut_off=soon)
    past.came(50, HOURS, HOURS * 0, "accepted", cut_off=later)
    french = {"headers": {"Accept-Language": "fr"}}

    async def work(site: Site, jeanne: Browser) -> None:
        stopped = "UPDATE backends SET paused = true, held_why = '\"stocktaking\"'"
        unknown = "impossible de dire quand tout sera parti : erp est en pause : stocktaking"
        await sql(site, stopped)
        assert "erp is paused" not in await says(jeanne, unknown, **french)
        opened = "paused = false, circuit = 'open', probe_at = now() + interval '1 min', why = '\"refused\"'"
        await sql(site, f"UPDATE backends SET {opened}")
        await says(jeanne, "if the next canary gets through, its backlog will be empty by")
        shown = await says(jeanne, "si la prochaine commande d&#39;essai passe, tout sera parti le", **french)
        assert "canary" not in shown
        met = shown[shown.index("Sera-t-elle tenue") :]
        assert re.search("plus possible, même maintenant, pour [0-9]+ commandes", met)
        assert re.search("si les commandes repartent avant le [0-9]+ ", met)
        assert "oui" not in met.split("Par")[0]
        told = re.search("si la prochaine commande d&#39;essai passe, .*? 19 fois sur 20 avant le [^(]+? [A-Z]+", shown)
        assert told is not None
        assert told[0] in text_of(await jeanne.get("/recovery", **french))

    with leading(past.journal):
        on_site(settings, work)


def test_an_outage_has_its_beginning_and_no_canary_that_is_past(settings: Settings) -> None:
    french = {"headers": {"Accept-Language": "fr"}}

    async def work(site: Site, jeanne: Browser) -> None:
        await sql(
            site,
            'INSERT INTO backends (name, "window", circuit, failures, failing_since, changed_at, probe_at, why) '
            "VALUES ('erp', 1, 'open', 111, now() - interval '2 min', now(), now() + interval '1 min', '\"refused\"')",
        )
        (row,) = await backend_rows.standing(site.app.state.console.engine)
        words = languages(settings.console.time_zone)["en"]
        since, canary = words.moment(row["failing_since"]), words.moment(row["probe_at"])
        shown = await says(jeanne, f"erp: the circuit is open since {since}: refused; next canary at {canary}")
        assert f"Open since {since}; next canary at {canary}. Cause: refused" in shown
        assert "Failures in a row 111" in shown and "Circuit since" not in shown
        page = text_of(await jeanne.get("/backend/erp"))
        assert page.count(since) == 1 and f"erp: the circuit is open since {since}: refused" in page
        assert "Orders that wait 0" in page
        looked = text_of(await jeanne.get("/acts/replay-start?backend=erp"))
        assert "One order is tried at once: if it fails, the replay holds until somebody resumes it." in looked
        assert "Attempts that failed since it last answered 111" in page
        await sql(site, "UPDATE backends SET paused = true, held_why = '\"stocktaking\"'")
        shown = await says(jeanne, "no canary goes while it is held")
        assert canary not in shown
        assert "erp is paused: stocktaking" in text_of(await jeanne.get("/backend/erp"))
        await says(
            jeanne, "aucune commande d&#39;essai ne part tant qu&#39;il est en pause ou en quarantaine", **french
        )
        await sql(site, "UPDATE backends SET paused = false, probe_at = now() - interval '1 s'")
        shown = await says(jeanne, "the next order due is the canary")
        assert "next canary at" not in shown

    with leading(Journal(above(str(settings.journal.url)))):
        on_site(settings, work)


def test_no_two_figures_of_a_page_differ_while_orders_flow(settings: Settings) -> None:
    born = """
    WITH taken AS (
      INSERT INTO orders (id, pharmacy, reference, body, digest, client)
      SELECT gen_random_uuid(), '990000002', gen_random_uuid(), '{}', 'd', 't' FROM generate_series(1, 5) RETURNING id
    ), counted AS (SELECT id, row_number() OVER () % 3 = 0 AS dead FROM taken)
    INSERT INTO deliveries (order_id, state, backend, priority, cut_off, accepted_at, reason, error, settled_at)
    SELECT id, CASE WHEN dead THEN 'dead' ELSE 'accepted' END, 'erp', 1, 'infinity', now() - interval '8 min',
      CASE WHEN dead THEN 'refused' END, CASE WHEN dead THEN 'quota' END, CASE WHEN dead THEN now() END FROM counted
    """

    async def flow(site: Site) -> None:
        while True:
            await sql(site, born)

    def counts(pattern: str, page: str) -> list[int]:
        return [int(each.replace(",", "")) for each in re.findall(pattern, page)]

    async def work(site: Site, jeanne: Browser) -> None:
        await sql(site, "INSERT INTO backends (name, \"window\") VALUES ('erp', 10)")
        flowing, seen = asyncio.create_task(flow(site)), set()
        try:
            while len(seen) < 8:
                page = text_of(await jeanne.get("/"))
                waiting = counts(r"Backlog ([\d,]+)", page) + counts(r"([\d,]+) orders wait", page)
                dead = counts(r"Dead letters ([\d,]+)", page) + counts(r"refused ([\d,]+)", page)
                dead += counts(r"([\d,]+) dead letters? need", page)
                if seen or waiting[:1] not in ([], [0]):
                    assert (len(waiting), len(set(waiting)), len(dead), len(set(dead))) == (3, 1, 3, 1), page[:1500]
                    seen.add(waiting[0])
                page = text_of(await jeanne.get("/dead"))
                total = counts(r"([\d,]+) orders? needs? a person", page)
                assert total == counts(r"([\d,]+) quota refused", page), page[:1500]
                known = await status(site.app.state.console.engine, settings, "http://127.0.0.1:9")
                foretold = [(each.now, each.backlog) for each in known["forecast"]]
                assert foretold == [(known["at"], known["backlog"])], "one snapshot, its forecast too"
        finally:
            flowing.cancel()
            await asyncio.wait({flowing})

    with leading(Journal(above(str(settings.journal.url)))):
        on_site(settings, work)


def test_what_is_left_of_a_replay_is_of_the_reading_that_the_backlog_is_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where counting takes long, the backlog is older than what is looked at every other second."""
    monkeypatch.setattr(poller, "SURVEY", 3600.0)
    monkeypatch.setattr(poller, "CHEAP", 0.0)

    async def work(site: Site, jeanne: Browser) -> None:
        await sql(site, "INSERT INTO backends (name, \"window\") VALUES ('erp', 10)")
        await sql(
            site,
            "INSERT INTO deliveries (order_id, state, backend, priority, cut_off, turn) "
            "SELECT gen_random_uuid(), 'accepted', 'erp', 1, 'infinity', n FROM generate_series(1, 5) n",
        )
        begun = "INSERT INTO replays (backend, choice, orders, started_by) VALUES ('erp', '{}', 5, 'luc')"
        await sql(site, begun)
        await says(jeanne, "5 of 5 orders left")
        await sql(site, "UPDATE deliveries SET state = 'cancelled', settled_at = now() WHERE turn <= 2")
        overview = site.app.state.overview.poller

        async def looked() -> bool:
            await jeanne.get("/")
            return [row["left"] for row in overview.seen.journal.value.replays] == [3]

        await auntil(looked, what="a look that is newer than the count")
        page = text_of(await jeanne.get("/"))
        assert "Backlog 5" in page and "5 of 5 orders left" in page
        await sql(site, "UPDATE replays SET ended_at = now(), state = 'cancelled'")
        await sql(site, begun)
        await says(jeanne, f"{NONE} of 5 orders left")

    on_site(settings, work)


def test_figures_are_those_of_the_status(settings: Settings) -> None:
    async def work(site: Site, jeanne: Browser) -> None:
        await sql(
            site,
            "INSERT INTO deliveries (order_id, state, backend, priority, cut_off, reason) SELECT "
            "gen_random_uuid(), CASE WHEN n % 4 = 0 THEN 'dead' ELSE 'accepted' END, 'erp', 1, 'infinity', "
            "CASE WHEN n % 4 = 0 THEN 'refused' END FROM generate_series(1, 4936) n",
        )
        shown = await says(jeanne, "Backlog 3,702")
        known = await status(site.app.state.console.engine, settings, "http://127.0.0.1:9")
        assert (known["backlog"], known["orders"]["dead"]) == (3702, 1234)
        assert "Dead letters 1,234" in shown
        await says(jeanne, "refused more than 1,000")

    on_site(settings, work)


def test_the_series_is_json_and_other_spans_are_refused(settings: Settings) -> None:
    async def work(site: Site, jeanne: Browser) -> None:
        await sql(
            site,
            "INSERT INTO samples SELECT now() - n * interval '10 s', 100 - n, 0, 0, 0, 0, 3, NULL, NULL, true "
            "FROM generate_series(1, 20) n",
        )
        found = (await jeanne.get("/live/series?span=1h")).json()
        assert len(found["at"]) == 19
        assert found["accepted"] == [1.0, 2.0, 3.0, 4.0, 5.0, *[6.0] * 14], "orders of the last minute"
        assert (await jeanne.get("/live/series?span=1y")).status_code == 422
        assert (await jeanne.get("/live/stores")).status_code == 200

    on_site(settings, work)


def test_a_backlog_that_has_just_come_is_nowhere_said_to_be_empty(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted seldom is counted at once when the totals, which are read often, tell otherwise."""
    monkeypatch.setattr(poller, "SURVEY", 3600.0)
    monkeypatch.setattr(poller, "CHEAP", 60.0)  # on a machine that does other things

    async def work(site: Site, jeanne: Browser) -> None:
        await says(jeanne, "The backlog is empty.")
        await sql(
            site,
            "INSERT INTO deliveries (order_id, state, backend, priority, cut_off) "
            "SELECT gen_random_uuid(), 'accepted', 'erp', 1, 'infinity' FROM generate_series(1, 7)",
        )

        async def told() -> bool:
            found = text_of(await jeanne.get("/"))
            return "Backlog 7" in found and "The backlog is empty." not in found

        await auntil(told, what="a backlog of 7, and nowhere none")

    on_site(settings, work)
