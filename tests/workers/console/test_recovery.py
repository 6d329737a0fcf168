"""The console's recovery: its pages in every state of a replay, and its acts on a real journal."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from config.settings import Settings
from orders.errors import Malformed, NotFound, NotSo
from orders.journal import connect
from orders.sentences import Code, Sentence
from tests.bench import Bench, Scripted, always
from tests.recovery import BACKENDS, Recovery, backlog
from tests.workers.console.journalled import simulated
from tests.workers.console.site import Browser, Site, serving, text_of
from workers.console.access.people import Role
from workers.console.acts.act import Preview, Stopped
from workers.console.i18n import languages
from workers.console.masking import say
from workers.console.recovery import cached
from workers.console.registry import ACTS
from workers.delivery.deliver import deliver
from workers.erp.http import HttpErp
from workers.erp.port import Kind
from workers.erp.sim import Simulator
from workers.operations import acting_as
from workers.reconcile import runs
from workers.replay.gates import STAGES, AttemptCounts, Gates, failing, named

WORDS = languages("UTC")
NARROW = "\N{NARROW NO-BREAK SPACE}"
ROOM = (
    "replay-start",
    "replay-pause",
    "replay-resume",
    "replay-next",
    "replay-hold",
    "replay-unhold",
    "replay-cancel",
    "drain",
    "reconcile",
    "resend",
    "divert",
)


class Watched:
    """Hears how far an act is; stops it when it was told to."""

    def __init__(self, stop: Callable[[int], bool] = lambda done: False) -> None:
        self.told: list[tuple[int, int | None, str]] = []
        self._stop = stop

    async def at(self, done: int, total: int | None, note: str = "") -> None:
        self.told.append((done, total, note))
        if self._stop(done):
            raise Stopped("stopped")


class Operators(Bench):
    """A bench beside a console that serves."""

    def __init__(self, site: Site, settings: Settings) -> None:
        super().__init__(site.app.state.console.engine, settings, site.logins)
        self.site, self.console = site, site.app.state.console

    async def look(self, kind: str, lang: str = "en", **fields: str) -> Preview:
        act = ACTS[kind]
        return await act.preview(self.console, act.choose(fields), WORDS[lang])

    async def do(
        self, kind: str, name: str = "jeanne", running: Watched | None = None, **fields: str
    ) -> dict[str, Any]:
        act = ACTS[kind]
        with acting_as(name):
            came = await act.run(self.console, act.choose(fields), "the ERP is back", running or Watched())
        return dict(json.loads(json.dumps(came)))

    async def recorded(self) -> list[tuple[str, str, str]]:
        rows = await self.run(text("SELECT operator, act, reason FROM operations ORDER BY id"))
        return [tuple(row) for row in rows]


OnConsole = Callable[[Callable[[Operators], Awaitable[Any]]], Any]


@pytest.fixture
def on_console(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> OnConsole:
    monkeypatch.setattr(cached, "FRESH", 0.0)
    monkeypatch.setattr(cached, "SHARE", 0)

    def run(work: Callable[[Operators], Awaitable[Any]], changed: Settings = settings) -> Any:
        async def main() -> Any:
            async with serving(changed) as site:
                return await work(Operators(site, changed))

        return asyncio.run(main())

    return run


async def seen(browser: Browser, path: str = "/recovery", **headers: str) -> str:
    answer = await browser.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return text_of(answer)


def test_it_is_all_there_and_wants_an_operator() -> None:
    assert {kind for kind in ACTS if kind in ROOM} == {*ROOM}
    assert all(ACTS[kind].role is Role.OPERATOR for kind in ROOM)
    assert [kind for kind in ROOM if ACTS[kind].danger] == ["replay-cancel", "divert"]
    assert [kind for kind in ROOM if ACTS[kind].long] == ["drain", "reconcile", "resend"]


@pytest.mark.parametrize(
    ("kind", "fields"), [("replay-start", {"backend": "erp"}), ("divert", {"from": "erp", "to": "other"})]
)
def test_what_an_act_would_touch_is_of_one_reading(
    settings: Settings, on_console: OnConsole, monkeypatch: pytest.MonkeyPatch, kind: str, fields: dict[str, str]
) -> None:
    """Another order comes after the first statement of each reading: the others do not see it."""
    file = settings.files.data_dir / "backends.toml"
    file.write_text(BACKENDS)

    async def work(room: Operators) -> None:
        await room.accept(3)
        execute = AsyncConnection.execute

        async def then_one_more(connection: AsyncConnection, *given: Any, **more: Any) -> Any:
            done = await execute(connection, *given, **more)
            if "count(DISTINCT o.pharmacy)" in str(given[0]):
                monkeypatch.undo()
                await room.accept(2)
            return done

        monkeypatch.setattr(AsyncConnection, "execute", then_one_more)
        looked = await room.look(kind, **fields)
        assert (looked.orders, len(looked.sample)) == (3, 3)
        looked = await room.look(kind, **fields)
        assert (looked.orders, len(looked.sample)) == (5, 5)

    on_console(work, settings.replace(backends=file))


def test_the_page_follows_a_replay_from_before_it_begins_to_its_end(on_console: OnConsole) -> None:
    async def work(room: Operators) -> None:
        jeanne, recovery = await room.site.enter(), Recovery(room)
        assert "No replay was ever started." in await seen(jeanne)
        await backlog(room, 150)
        looked = await room.look("replay-start", backend="erp", hold="yes")
        assert (looked.orders, len(looked.sample), looked.hindered) == (150, 10, None)
        came = await room.do("replay-start", backend="erp", hold="yes")
        assert (came["backend"], came["orders"]) == ("erp", 150)
        number = str(came["replay"])
        page = await seen(jeanne)
        for told in ("It is at: 1 order.", "150 of 150", "the whole backlog", "jeanne"):
            assert told in page, told
        done = 1
        for size in (1, 10, 100):
            assert sum(await recovery.rounds()) == size
            page = await seen(jeanne)
            assert "Replay 1 waits for a word It waits for a word before the next stage." in re.sub(r"\d+", "1", page)
            assert f"{size} answered · 0 failed" in page and "it waits for a word" not in page.partition("Left")[0]
            assert page.count("passed") >= STAGES.index(size)
            looked, more = await room.look("replay-next", backend="erp"), {1: 10, 10: 100, 100: 39}[size]
            goes_on = "The ramp" if size == 100 else f"{more} orders"
            assert (looked.orders, dict(looked.facts)["Goes on with"]) == (more, goes_on), "not all that is left"
            assert (await room.look("replay-cancel", backend="erp")).orders == 150 - done
            done += more
            await room.do("replay-next", backend="erp", replay=number, stage=str(size))
        page = await seen(jeanne)
        assert "It is at: The ramp." in page
        assert "39 of 150" in page
        await room.do("replay-pause", backend="erp", replay=number)
        assert "It is paused, and sends nothing." in await seen(jeanne)
        await room.do("replay-resume", backend="erp", replay=number)
        await recovery.rounds()
        page = await seen(jeanne)
        assert f"The last one was replay {number}." in page
        whole = await seen(jeanne, f"/recovery/replays/{number}")
        assert whole.count("0 failed") == 8, "four stages, drawn and listed"
        assert ("jeanne", "replay", "the ERP is back") in await room.recorded()
        assert [row[1] for row in await room.recorded()] == [
            "replay",
            "replay next",
            "replay next",
            "replay next",
            "replay pause",
            "replay resume",
        ]

    on_console(work)


def test_a_gate_that_failed_is_told_in_both_languages(on_console: OnConsole) -> None:
    async def work(room: Operators) -> None:
        jeanne, recovery = await room.site.enter(), Recovery(room)
        await backlog(room, 60)
        await room.do("replay-start", backend="erp")
        assert await recovery.round() == 1
        recovery.erp.answer = lambda order_id: Kind.TRANSIENT if order_id.int % 2 else Kind.ACCEPTED
        while (await recovery.stands())["state"] == "running":
            await recovery.round()
        page = await seen(jeanne)
        assert re.search(r"\d+ of \d+ attempts failed, 2% is allowed", page)
        assert "It holds, and sends nothing, until somebody resumes it." in page
        french = await seen(jeanne, **{"Accept-Language": "fr"})
        assert re.search("tentatives échouées.: \\d+ sur \\d+.; part admise.: 2.?.%", french)
        assert "Il est suspendu" in french
        with pytest.raises(NotSo, match="failed"):
            await room.do("replay-next", backend="erp")
        assert (await room.do("replay-resume", backend="erp"))["state"] == "running"
        assert "tried 1 time" not in await seen(jeanne)

    on_console(work)


def test_every_sentence_of_the_gates_is_one_that_is_translated() -> None:
    gates = Gates(0.02, 4.0, True, latency=0.2, refusing=0.0)
    met = [
        AttemptCounts(answered=10, delivered=10, unreceipted=1),
        AttemptCounts(answered=10, delivered=10, unsigned=2),
        AttemptCounts(answered=9, failed=1),
        AttemptCounts(answered=10, delivered=0, refused=10),
        AttemptCounts(answered=10, delivered=10, slow=9.0),
    ]
    passed = Sentence(Code.STAGE_PASSED, stage=named(10), found=met[4].told())
    for sentence in [failing(10, each, gates) for each in met] + [Sentence(Code.QUARANTINED, backend="erp"), passed]:
        assert sentence is not None
        assert say(sentence.stored(), WORDS["en"]) == sentence
        assert say(sentence.stored(), WORDS["fr"]) != sentence
    assert say("the night shift takes over", WORDS["fr"]) == "the night shift takes over"
    assert (
        say(failing(10, met[4], gates), WORDS["fr"]) == f"une réponse sur vingt prend 9,00 s{NARROW}; 0,80 s est admis"
    )


def test_a_viewer_sees_no_buttons_and_no_forms(on_console: OnConsole) -> None:
    async def work(room: Operators) -> None:
        await backlog(room, 5)
        await room.do("replay-start", backend="erp")
        luc, jeanne = await room.site.enter("luc", Role.VIEWER), await room.site.enter()
        assert "/acts/replay-pause" in (await jeanne.get("/recovery")).text
        assert "button" not in (await luc.get("/recovery")).text
        assert "/acts/replay" not in (await luc.get("/recovery/standing")).text
        for form in ("replay", "divert", "reconcile"):
            assert (await luc.get(f"/recovery/{form}")).status_code == 403
            assert (await jeanne.get(f"/recovery/{form}")).status_code == 200

    on_console(work)


def test_of_two_operators_one_is_told(on_console: OnConsole) -> None:
    async def both(room: Operators, kind: str, **fields: str) -> str:
        """Who won, and that the other was told of it."""
        came = await asyncio.gather(
            *(room.do(kind, name, **fields) for name in ("jeanne", "paul")), return_exceptions=True
        )
        [lost] = [each for each in came if isinstance(each, Exception)]
        assert isinstance(lost, NotSo), lost
        winner = (await room.recorded())[-1][0]
        assert winner in str(lost)
        return str(lost)

    async def work(room: Operators) -> None:
        recovery = Recovery(room)
        await backlog(room, 150)
        assert "is not over" in await both(room, "replay-start", backend="erp", hold="yes")
        assert (await room.look("replay-start", backend="erp")).hindered is not None
        number = str((await recovery.stands())["id"])
        await recovery.rounds()
        before = await room.look("replay-next", backend="erp", replay=number, stage="1")
        assert "replay next" in await both(room, "replay-next", backend="erp", replay=number, stage="1")
        await recovery.rounds()
        with pytest.raises(NotSo, match="not what was looked at"):  # it waits again, but after another stage
            await room.do("replay-next", backend="erp", replay=number, stage="1")
        after = await room.look("replay-next", backend="erp", replay=number, stage="1")
        assert before.hindered is None
        assert after.hindered is not None
        assert before.sees != after.sees
        assert "cancel" in await both(room, "replay-cancel", backend="erp", replay=number)

    on_console(work)


def test_what_is_wrong_is_named(on_console: OnConsole) -> None:
    def wrong(kind: str, **fields: str) -> set[str]:
        with pytest.raises(Malformed) as caught:
            ACTS[kind].choose(fields)
        return {fault.field for fault in caught.value.faults}

    ages = {"older": "soon", "younger": "9" * 400 + "d"}
    assert wrong("replay-start", priority="high", pharmacy="a\0b", hold="1", **ages) == {
        "backend",
        "older",
        "younger",
        "priority",
        "pharmacy",
        "hold",
    }
    assert wrong("replay-next", backend="ERP'", replay="0", stage="5") == {"backend", "replay", "stage"}
    assert wrong("divert", ids="x") == {"to", "ids"}
    assert wrong("divert", to="other", although_unknown="yes") == {"although_unknown"}
    assert wrong("divert", to="erp", **{"from": "erp"}) == {"to"}
    assert wrong("reconcile", backend="erp", since="0001-01-01T00:00:00+14:00") == {"since"}
    assert wrong("reconcile", backend="erp", since="2d", until="3d") == {"until"}
    assert wrong("reconcile", backend="erp", since="2999-01-01T00:00:00Z") == {"since"}
    assert wrong("resend", run="1" * 30) == {"run"}

    async def work(room: Operators) -> None:
        jeanne = await room.site.enter()
        for path, status in (
            ("/recovery/replays/0", 422),
            ("/recovery/replays/99999999999999999999", 422),
            ("/recovery/replays/7", 404),
            ("/recovery/reconciliations/7", 404),
            ("/recovery/reconciliations/7?kind=x", 422),
            ("/recovery/replays?after=AAAA", 422),
            ("/recovery/reconciliations?after=%00", 422),
        ):
            assert (await jeanne.get(path)).status_code == status, path
        for kind in ("replay-start", "drain"):
            with pytest.raises(NotFound):
                await room.look(kind, backend="nobody")
        with pytest.raises(NotFound):
            await room.look("resend", run="7")
        assert (await room.look("replay-start", backend="erp")).hindered is not None, "there is nothing to replay"

    on_console(work)


def test_a_list_goes_on_where_its_page_ended(on_console: OnConsole) -> None:
    async def work(room: Operators) -> None:
        await room.sql(
            "INSERT INTO replays (backend, choice, started_by, state, ended_at) "
            "SELECT 'erp', '{}', 'jeanne', 'done', now() FROM generate_series(1, 60)"
        )
        jeanne = await room.site.enter()
        found, path = [], "/recovery/replays"
        while path:
            answer = await jeanne.get(path)
            found += [int(each) for each in re.findall(r'href="/recovery/replays/(\d+)"', answer.text)]
            more = re.search(r'href="(/recovery/replays\?after=[^"]+)" rel="next"', answer.text)
            path = more[1] if more else ""
        assert found == list(range(60, 0, -1))
        foreign = re.search(r"after=([^\"]+)\"", (await jeanne.get("/recovery/replays")).text)
        assert foreign is not None
        assert (await jeanne.get(f"/recovery/reconciliations?after={foreign[1]}")).status_code == 422

    on_console(work)


def test_a_drain_watches_until_the_backlog_is_empty(on_console: OnConsole) -> None:
    async def work(room: Operators) -> None:
        await backlog(room, 20)
        looked = await room.look("drain")
        assert looked.orders == 20
        stopped = Watched(lambda done: True)
        with pytest.raises(Stopped):
            await room.do("drain", running=stopped)
        assert stopped.told[0][:2] == (0, 20)
        watched = Watched()
        drain = asyncio.ensure_future(room.do("drain", running=watched))
        erp = Scripted(always(Kind.ACCEPTED))
        while sent := await room.dispatch():
            await deliver(room.resources(erp), sent)
        came = await asyncio.wait_for(drain, 10)
        assert (came["orders"], came["delivered"]) == (20, 20)
        assert watched.told[-1][:2] == (20, 20)
        assert [row[:2] for row in await room.recorded()] == [("jeanne", "drain")] * 2

    on_console(work)


def test_a_divert_moves_what_was_shown(on_console: OnConsole, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "backends.toml").write_text(BACKENDS)

    async def work(room: Operators) -> None:
        ids = await backlog(room, 12)
        await room.sql(f"UPDATE deliveries SET unsure = true WHERE order_id = '{ids[0]}'")
        looked = await room.look("divert", to="other", **{"from": "erp"})
        facts = dict(looked.facts)
        assert (looked.orders, facts["Stay: their backend may have them"]) == (11, "1")
        named = await room.look("divert", to="other", ids=f"{ids[0]}, {ids[1]}")
        assert named.hindered == "Only 1 of the 2 orders that are named can be moved: none is."
        with pytest.raises(NotSo, match="only 1 of 2"):
            await room.do("divert", to="other", ids=f"{ids[0]},{ids[1]}")
        with pytest.raises(Malformed):
            await room.look("divert", to="nowhere")
        assert (await room.do("divert", to="other", **{"from": "erp"}))["orders"] == 11
        twice = await room.look("divert", to="other", ids=str(ids[0]), although_unknown="yes")
        assert twice.warning is not None
        assert "twice" in twice.warning
        assert (await room.do("divert", to="other", ids=str(ids[0]), although_unknown="yes"))["orders"] == 1
        assert [row[1:] for row in await room.recorded()] == [("divert", "the ERP is back")] * 2
        jeanne = await room.site.enter()
        assert "12" in await seen(jeanne)

    on_console(work, settings.replace(backends=tmp_path / "backends.toml"))


def test_a_reconciliation_is_stopped_resumed_and_resent(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "FRESH", 0.0)
    monkeypatch.setattr(cached, "SHARE", 0)
    monkeypatch.setattr("workers.console.acts.follow.LOOK_EVERY", 0.01)

    async def main() -> None:
        async with simulated(tmp_path) as sim:
            changed = settings.replace(erp_url=sim.url, erp_timeout=5.0)
            async with serving(changed) as site:
                await work(Operators(site, changed), sim)

    async def work(room: Operators, sim: Simulator) -> None:
        erp, jeanne = HttpErp(room.settings), await room.site.enter()
        ids = await backlog(room, 40)
        while due := await room.dispatch():
            await deliver(room.resources(erp), due)  # type: ignore[arg-type]
        await erp.close()
        looked = await room.look("reconcile", backend="erp", since="1h")
        assert (looked.orders, looked.hindered) == (40, None)
        with pytest.raises(Stopped, match="stopped") as cut:
            await room.do("reconcile", backend="erp", since="1h", running=Watched(lambda done: True))
        assert cut.value.outcome == {"reconciliation": 1}
        page = await seen(jeanne, "/recovery/reconciliations/1")
        assert "Resume where it was cut short" in page
        assert (await room.look("reconcile", backend="erp", since="1h")).warning is not None
        with pytest.raises(NotSo):
            await room.do("resend", run="1")
        forgotten = {UUID(each) for each in sim.conduct.book.forget(last=1.0)}
        assert forgotten == {*ids}
        came = await room.do("reconcile", run="1")
        assert (came["reconciliation"], came["missing"], came["present"]) == (1, 40, 0)
        page = await seen(jeanne, "/recovery/reconciliations/1")
        assert "missing (40)" in page
        assert "the ERP acknowledged it and has it no more" in page
        assert "Send again what is missing" in page
        assert (await room.look("reconcile", run="1")).hindered is not None
        again = await room.look("resend", run="1")
        assert (again.orders, len(again.sample)) == (40, 10)
        assert (await room.do("resend", run="1"))["orders"] == 40
        assert (await room.look("resend", run="1")).hindered is not None
        assert [row[1] for row in await room.recorded()] == ["reconcile", "reconcile resume", "resend"]
        assert "done, and sent again" in await seen(jeanne)

    asyncio.run(main())


def test_without_an_address_nothing_is_asked(on_console: OnConsole) -> None:
    async def work(room: Operators) -> None:
        looked = await room.look("reconcile", backend="erp", since="1h")
        assert looked.hindered is not None
        assert "RELAIS_ERP_URL" in looked.hindered

    on_console(work)


def test_what_an_erp_wrote_by_hand_is_left_out_of_a_finding() -> None:
    def shown(code: Code, **params: object) -> str:
        return say(Sentence(code, **params).stored(), WORDS["en"])

    line = {"line": 3, "count": 2, "product": "3400937318044"}
    assert shown(Code.GONE) == "the ERP acknowledged it and has it no more"
    assert shown(Code.NEW_LINE, **line) == "line 3: 2 boxes of 3400937318044, and was no such line"
    days = {"expected": Sentence(Code.EXPECTED, day="2024-10-22"), "was_expected": Sentence(Code.NO_DAY)}
    later = shown(Code.OTHER_BACK_ORDER, line=3, count=1, was=0, **days)
    assert later == "line 3: 1 box to come (expected 2024-10-22), and was 0 (no day told)"
    assert shown(Code.NOT_SENT, reference="E-17") == "the ERP has it as E-17, it was never sent"
    assert shown(Code.MET, detail="no answer in time") == "no answer in time"
    became = shown(Code.BECAME, kind="refused", detail="Mme Dupont, 3 rue X")
    assert became == "acknowledged, and now refused: (masked)"
    assert shown(Code.MET, detail="the ERP is out of service: call Mr Y") == "the ERP is out of service (masked)"
    assert shown(Code.NOT_SENT, reference="Mme Dupont") == "the ERP has it as …, it was never sent"
    assert shown(Code.MET, detail="Mme Dupont: ill") == "(masked)"


def test_a_page_of_findings_reads_only_its_own(on_console: OnConsole) -> None:
    async def work(room: Operators) -> None:
        run = await runs.begin(room.engine, "erp", datetime(2026, 1, 1, tzinfo=UTC), None, "a test")
        await room.sql(
            "INSERT INTO findings (reconciliation, order_id, kind, detail) SELECT 1, gen_random_uuid(), "
            "CASE WHEN n % 400 = 0 THEN 'missing' ELSE 'foreign' END, '\"x\"' FROM generate_series(1, 20000) n"
        )
        await room.sql('UPDATE reconciliations SET missing = 50, "foreign" = 19950')
        await room.sql("ANALYZE findings")
        jeanne = await room.site.enter()
        answer = await jeanne.get(f"/recovery/reconciliations/{run.id}?kind=missing")
        assert answer.text.count('<th scope="row"') == 50
        from workers.console.recovery.queries import FOUND

        values = {"run": run.id, "kind": "missing", "after": UUID(int=0), "limit": 51}
        async with room.engine.connect() as connection:
            plan = (await connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {FOUND}"), values)).all()
        assert max(_rows(plan[0][0][0]["Plan"])) <= 51

    on_console(work)


def _rows(node: Mapping[str, Any]) -> list[float]:
    """How many rows each node of a plan read, with those that it left out."""
    read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return [read, *(each for child in node.get("Plans", ()) for each in _rows(child))]


def test_while_the_journal_is_out_what_was_known_last_is_told(
    on_console: OnConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "BLIND_FOR", 0.0)

    async def work(room: Operators) -> None:
        jeanne = await room.site.enter()
        await backlog(room, 3)
        assert "out of reach" not in await seen(jeanne)
        room.site.app.state.recovery.engine = connect("postgresql://nobody@127.0.0.1:1/none", timeout=1.0)
        page = await seen(jeanne)
        assert "The journal is out of reach." in page
        assert "Backlog 3" in page
        room.site.app.state.recovery.engine = room.engine
        assert "out of reach" not in await seen(jeanne)

    on_console(work)
