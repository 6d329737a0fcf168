"""Acts at the console: shown first, done once, told to who comes second, watched, stopped, never lost from sight."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text

from config.settings import Settings
from orders.sentences import sentence_of
from tests.waiting import auntil
from tests.workers.console.site import Browser, Site, serving, text_of
from workers.console.access.people import Person, Role
from workers.console.acts import runner, table
from workers.console.acts.act import Act, Chosen, Preview, Running
from workers.console.i18n import Words, languages
from workers.console.registry import ACTS
from workers.console.state import ConsoleState

Run = Callable[[Coroutine[Any, Any, Any]], Any]
SCRIPT = "<script>alert('&')</script>"
LONG = "test-long"


def hidden(answer: httpx.Response) -> dict[str, Any]:
    """The form of a preview, as a browser sends it."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', answer.text)
    return {name: html.unescape(value) for name, value in found if name != "csrf"}


async def form(browser: Browser, kind: str, **fields: str) -> dict[str, Any]:
    answer = await browser.get(f"/acts/{kind}", params=fields)
    assert answer.status_code == 200, text_of(answer)
    return {**hidden(answer), "because": "a reason", "confirm": "erp"}


async def sql(site: Site, statement: str, **values: object) -> Any:
    async with site.owner.connect() as connection:
        found = await connection.execute(text(statement), values)
        return found.all() if found.returns_rows else None


async def done(browser: Browser, kind: str, **fields: str) -> httpx.Response:
    """Do it, and read what came of it."""
    answer = await browser.post(f"/acts/{kind}", await form(browser, kind, **fields))
    assert answer.status_code == 303, text_of(answer)
    return await browser.get(answer.headers["location"])


async def recorded(site: Site) -> list[tuple[str, str, str | None]]:
    return [tuple(row) for row in await sql(site, "SELECT act, operator, reason FROM operations ORDER BY id")]


class Stepping:
    """An act that goes one step when it is let."""

    def __init__(self) -> None:
        self.steps = asyncio.Semaphore(0)
        self.runs = 0

    async def preview(self, state: ConsoleState, chosen: Chosen, words: Words) -> Preview:
        return Preview(4, [("fact", SCRIPT)], sees="same")

    async def run(self, state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
        self.runs += 1
        for step in range(4):
            await running.at(step, 4, "working")
            await self.steps.acquire()
        return {"steps": 4}

    def act(self) -> Act:
        return Act(
            LONG,
            "A long one",
            "Begin",
            Role.OPERATOR,
            dict,
            self.preview,
            self.run,
            long=True,
            told={"steps": "Steps done"},
        )


@pytest.fixture
def stepping(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stepping]:
    made = Stepping()
    monkeypatch.setitem(ACTS, LONG, made.act())
    monkeypatch.setattr(runner, "FLUSH", 0.0)
    return made


def test_an_act_is_shown_then_done_once_however_often_it_is_sent(settings: Settings, run: Run) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter()
            shown = await jeanne.get("/acts/pause?backend=erp")
            assert "Nothing is forwarded until somebody resumes" in text_of(shown)
            assert await recorded(site) == []
            sent = {**hidden(shown), "because": f"stocktaking {SCRIPT}"}
            answers = await asyncio.gather(*(jeanne.post("/acts/pause", sent) for _ in range(4)))
            again = await jeanne.post("/acts/pause", sent)
            assert {(each.status_code, each.headers["location"]) for each in (*answers, again)} == {
                (303, f"/act/{sent['act']}")
            }
            assert await recorded(site) == [("pause", "jeanne", f"stocktaking {SCRIPT}")]
            for path in (again.headers["location"], "/acts", "/backend/erp", "/acts/resume?backend=erp"):
                page = await jeanne.get(path)
                assert page.status_code == 200
                assert "<script>alert" not in page.text, path
                assert html.escape(SCRIPT, quote=False) in html.unescape(page.text) or SCRIPT in html.unescape(
                    page.text
                )
            over = await jeanne.get(again.headers["location"])
            assert "Done" in text_of(over)
            assert '<a class="target" href="/operations/1">1</a>' in over.text
            stolen = await jeanne.post(
                "/acts/quarantine", {**(await form(jeanne, "quarantine", backend="erp")), "act": sent["act"]}
            )
            assert stolen.status_code == 409

    run(look())


def test_who_clicks_twice_comes_to_one_page_whichever_console_hears_the_second(
    settings: Settings, run: Run, stepping: Stepping, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(stepping.act(), long=False, after="/backend/{did}")
    monkeypatch.setitem(ACTS, LONG, short)

    async def look() -> None:
        async with serving(settings) as site, serving(settings) as other:
            one, two = await site.enter(), await other.enter()
            sent = await form(one, LONG)
            clicks = [asyncio.create_task(each.post(f"/acts/{LONG}", sent)) for each in (one, one, two)]
            await auntil(lambda: stepping.runs == 1)
            assert not (await asyncio.wait(clicks, timeout=0.5))[0], "all wait for the one act"
            for _ in range(4):
                stepping.steps.release()
            came = [await each for each in clicks]
            assert [(each.status_code, each.headers["location"]) for each in came] == [
                (303, f"/backend/{sent['act']}")
            ] * 3
            assert stepping.runs == 1

    run(look())


ROUNDS = 6


@pytest.mark.parametrize(
    ("kind", "before"),
    [
        ("pause", []),
        ("quarantine", []),
        ("resume", ["pause"]),
        ("release", ["quarantine"]),
    ],
)
def test_of_two_who_act_at_once_one_wins_and_the_other_is_told(
    settings: Settings, run: Run, kind: str, before: list[str]
) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            both = [await site.enter(name, Role.APPROVER) for name in ("jeanne", "marc")]
            back = {"pause": "resume", "resume": "pause", "quarantine": "release", "release": "quarantine"}[kind]
            for act in before:
                await done(both[0], act, backend="erp")
            for n in range(ROUNDS):
                forms = [await form(each, kind, backend="erp") for each in both]
                sent = await asyncio.gather(
                    *(each.post(f"/acts/{kind}", it) for each, it in zip(both, forms, strict=True))
                )
                pages = [
                    await each.get(answer.headers["location"]) if answer.status_code == 303 else answer
                    for each, answer in zip(both, sent, strict=True)
                ]
                told = [text_of(page) for page in pages]
                lost = [n for n, page in enumerate(pages) if page.status_code == 409 or "Not done" in told[n]]
                assert len(lost) == 1, told
                winner = ("marc", "jeanne")[lost[0]]
                assert winner in told[lost[0]].split("What was asked")[0], told[lost[0]]
                acts = [act for act, _, _ in await recorded(site)]
                assert acts.count(kind) == n + 1
                await done(both[0], back, backend="erp")

    run(look())


def test_what_changed_since_is_told_instead_of_done(settings: Settings, run: Run) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne, marc = await site.enter(), await site.enter("marc")
            sent = await form(jeanne, "pause", backend="erp")
            await done(marc, "quarantine", backend="erp")
            answer = await jeanne.post("/acts/pause", sent)
            assert answer.status_code == 409
            said = text_of(answer)
            assert "Things have changed since you looked" in said
            assert re.search("Holds it now no worker is running erp is in quarantine since .* by marc", said)
            assert [act for act, _, _ in await recorded(site)] == ["quarantine"]
            assert (await jeanne.post("/acts/pause", {**sent, **hidden(answer)})).status_code == 303

    run(look())


def test_four_eyes_see_the_very_snapshot(settings: Settings, run: Run) -> None:
    async def look() -> None:
        words = languages(settings.console.time_zone)
        async with serving(settings.replace(four_eyes=True)) as site:
            jeanne, marc = await site.enter(), await site.enter("marc", Role.APPROVER)
            await done(jeanne, "quarantine", backend="erp")
            assert (await jeanne.get("/acts/release?backend=erp")).status_code == 403
            assert "A release takes two here" in text_of(await marc.get("/acts/release?backend=erp"))
            for who in (jeanne, marc):
                await done(who, "release-propose", backend="erp")
            page = await jeanne.get("/backend/erp")
            digest = re.findall(r"[0-9a-f]{64}", page.text)[0]
            choice = {"backend": "erp", "digest": digest}
            assert (await jeanne.get("/acts/release-approve", params=choice)).status_code == 403
            own = await marc.get("/acts/release-approve", params=choice)
            assert "You proposed it" in text_of(own)
            assert 'name="because"' not in own.text
            anna = await site.enter("anna", Role.APPROVER)
            shown = await anna.get("/acts/release-approve", params=choice)
            row = (await sql(site, "SELECT detail FROM operations WHERE act = 'release proposed' LIMIT 1"))[0][0]
            since = words["en"].moment(datetime.fromisoformat(row["quarantined_at"]))
            for value in (since, row["quarantined_by"], sentence_of(row["held_why"]), row["digest"]):
                assert str(value) in text_of(shown)
            await sql(
                site,
                "INSERT INTO evidence (backend, lease, kind, conclusive, detail) "
                "VALUES ('erp', gen_random_uuid(), 'x', false, '')",
            )
            late = await anna.post("/acts/release-approve", {**hidden(shown), "because": "I looked", "confirm": "erp"})
            assert late.status_code == 409
            assert "not as marc saw it any more" in text_of(late)
            await done(jeanne, "release-propose", backend="erp")
            page = await anna.get("/backend/erp")
            digests = re.findall(r'name="digest" value="([0-9a-f]{64})"', page.text)
            assert len(digests) == 1
            over = await done(anna, "release-approve", backend="erp", digest=digests[0])
            assert "released" in text_of(over)
            last = (await sql(site, "SELECT operator, detail FROM operations ORDER BY id DESC LIMIT 1"))[0]
            assert (last[0], last[1]["proposed_by"], last[1]["approved_because"]) == ("anna", "jeanne", "a reason")

    run(look())


def test_a_long_act_tells_how_far_it_is_and_is_stopped(settings: Settings, run: Run, stepping: Stepping) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne, marc = await site.enter(), await site.enter("marc")
            for stop in (False, True):
                begun = await jeanne.post(f"/acts/{LONG}", await form(jeanne, LONG))
                where = begun.headers["location"]
                stepping.steps.release()
                stepping.steps.release()

                async def half(where: str = where) -> bool:
                    return "2 / 4" in text_of(await marc.get(f"{where}/progress"))

                await auntil(half)
                assert "HX-Refresh" not in (await marc.get(f"{where}/progress")).headers
                if stop:
                    assert (await marc.post(f"{where}/stop")).status_code == 303
                for _ in range(2):
                    stepping.steps.release()

                async def over(where: str = where) -> bool:
                    return "HX-Refresh" in (await marc.get(f"{where}/progress")).headers

                await auntil(over)
                said = text_of(await marc.get(where))
                if stop:
                    assert "marc stopped it" in said
                    assert "Steps done" not in said
                else:
                    assert "Steps done 4" in said
            assert stepping.runs == 2

    run(look())


@pytest.mark.parametrize("change", ["role = 'viewer'", "disabled_at = now()"])
def test_an_act_ends_with_its_operators_right(settings: Settings, run: Run, stepping: Stepping, change: str) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne, marc = await site.enter(), await site.enter("marc")
            where = (await jeanne.post(f"/acts/{LONG}", await form(jeanne, LONG))).headers["location"]
            late = await form(jeanne, LONG)
            await sql(site, f"UPDATE accounts SET {change} WHERE name = 'jeanne'")
            stepping.steps.release()

            async def over() -> bool:
                return "may not do this any more" in text_of(await marc.get(where))

            await auntil(over)
            assert (await jeanne.post(f"/acts/{LONG}", late)).status_code in {303, 403}
            assert stepping.runs == 1

    run(look())


def test_a_console_that_ends_marks_its_acts_and_none_is_run_twice(
    settings: Settings, run: Run, stepping: Stepping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "END_TIMEOUT", 0.2)

    async def look() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter()
            sent = await form(jeanne, LONG)
            where = (await jeanne.post(f"/acts/{LONG}", sent)).headers["location"]
            await auntil(lambda: stepping.runs == 1)
        async with serving(settings) as site:
            jeanne = await site.enter()
            said = text_of(await jeanne.get(where))
            assert "Interrupted" in said
            assert "It is not begun again by itself" in said
            assert (await jeanne.post(f"/acts/{LONG}", sent)).headers["location"] == where
            assert stepping.runs == 1

    run(look())


def test_an_act_whose_process_has_gone_is_told_so_and_written_down(
    settings: Settings, run: Run, stepping: Stepping, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter()
            number = uuid4()
            who = Person("jeanne", Role.OPERATOR, jeanne.csrf)
            assert await table.begin(site.app.state.console.engine, number, ACTS[LONG], {}, {}, "why", who)
            await sql(
                site, "UPDATE acts SET beat_at = now() - interval '1 hour', started_at = now() - interval '2 hours'"
            )
            assert "nobody saw how it ended" in text_of(await jeanne.get(f"/act/{number}"))
            await table.give_up(site.app.state.console.engine)
            assert len(await sql(site, "SELECT id FROM acts WHERE state = 'interrupted' AND why = 'lost'")) == 1
            assert stepping.runs == 0

    run(look())


def test_the_journal_lost_in_the_middle_is_told_as_it_is(
    settings: Settings, run: Run, stepping: Stepping, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(state: ConsoleState, chosen: Chosen, reason: str, running: Running) -> dict[str, Any]:
        raise ConnectionResetError

    monkeypatch.setitem(ACTS, LONG, replace(stepping.act(), run=lost, long=False))

    async def look() -> None:
        async with serving(settings) as site:
            said = text_of(await done(await site.enter(), LONG))
            assert "nobody knows whether the last step was done" in said

    run(look())


BAD_FORMS: list[tuple[dict[str, str], int]] = [
    ({"because": "no"}, 422),
    ({"because": "  \N{NO-BREAK SPACE} "}, 422),
    ({"because": "x" * 501}, 422),
    ({"because": "two\nlines"}, 422),
    ({"because": "nul\0nul"}, 422),
    ({"because": "turned \N{RIGHT-TO-LEFT OVERRIDE}"}, 422),
    ({"confirm": "other"}, 422),
    ({"act": "1"}, 422),
    ({"act": ""}, 422),
    ({"sees": "f" * 64}, 409),
    ({"sees": ""}, 409),
    ({"backend": ""}, 422),
    ({"backend": "x\0"}, 422),
    ({"backend": "nowhere"}, 404),
    ({"backend": "x" * 300}, 422),
    ({"csrf": "0" * 64}, 403),
    ({"csrf": ""}, 403),
    ({f"f{n}": "1" for n in range(60)}, 422),
    ({"saw": "{[", "sees": ""}, 409),
    ({"saw": "{["}, 303),
]


def test_bad_forms_are_refused(settings: Settings, run: Run) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter()
            right = await form(jeanne, "quarantine", backend="erp")
            for changed, status in BAD_FORMS:
                answer = await jeanne.post("/acts/quarantine", {**right, **changed})
                assert answer.status_code == status, (changed, text_of(answer))
                assert len(await recorded(site)) == (1 if status == 303 else 0)
                if status == 422 and "because" in changed:
                    assert "Write one line of 3 to 500 characters." in text_of(answer)

    run(look())


BAD_ADDRESSES = [
    ("/acts/nothing", 404),
    ("/acts/pause", 422),
    ("/acts/pause?backend=nowhere", 404),
    ("/acts/pause?backend=%00", 422),
    ("/acts/rate?backend=erp", 422),
    ("/acts/rate?backend=erp&rate=nan", 422),
    ("/acts/rate?backend=erp&rate=1e9", 422),
    ("/acts/rate?backend=erp&rate=off", 200),
    ("/acts/release-approve?backend=erp&digest=zz", 422),
    (f"/acts/release-approve?backend=erp&digest={'0' * 64}", 200),
    ("/act/1", 422),
    (f"/act/{UUID(int=1)}", 404),
    ("/acts?after=forged", 422),
    ("/backend/nowhere", 404),
    ("/backend/%00", 404),
    ("/backend/erp?after=forged", 422),
]


def test_bad_addresses_are_refused(settings: Settings, run: Run) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            marc = await site.enter("marc", Role.APPROVER)
            for path, status in BAD_ADDRESSES:
                answer = await marc.get(path)
                assert answer.status_code == status, (path, text_of(answer))

    run(look())


def test_a_viewer_looks_and_does_nothing(settings: Settings, run: Run) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne, vera = await site.enter(), await site.enter("vera", Role.VIEWER)
            sent = await form(jeanne, "pause", backend="erp")
            where = (await jeanne.post("/acts/pause", sent)).headers["location"]
            for kind in ACTS:
                assert (await vera.get(f"/acts/{kind}")).status_code == 403
                assert (await vera.post(f"/acts/{kind}", {**sent, "act": str(uuid4())})).status_code == 403
            assert (await vera.post(f"{where}/stop")).status_code == 403
            for path in (where, "/acts", "/backend/erp"):
                assert (await vera.get(path)).status_code == 200
            assert len(await recorded(site)) == 1

    run(look())


def test_lists_go_on_where_they_ended(settings: Settings, run: Run) -> None:
    async def look() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter()
            await sql(
                site,
                "INSERT INTO acts (id, kind, chosen, fields, reason, operator, role, state) SELECT "
                "gen_random_uuid(), 'pause', '{}', '{}', 'r' || n, 'x', 'operator', 'done' "
                "FROM generate_series(1, 120) n",
            )
            await sql(
                site,
                "INSERT INTO operations (operator, act, reason, detail) SELECT 'x', 'pause', 'r' || n, "
                '\'{"backend": "erp"}\' FROM generate_series(1, 60) n',
            )
            for path, many in (("/acts", 120), ("/backend/erp", 60)):
                seen: list[str] = []
                following: str | None = path
                while following:
                    page = await jeanne.get(following)
                    seen += re.findall(r">(r\d+)<", page.text)
                    found = re.search(r'href="([^"]+)" rel="next"', page.text)
                    following = html.unescape(found[1]) if found else None
                assert len(seen) == len(set(seen)) == many

    run(look())
