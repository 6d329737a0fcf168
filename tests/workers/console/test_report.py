"""Reports at the console: made by its act as the command line makes them, kept a while, handed out as they are."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import time
import zlib
from datetime import UTC, datetime
from html import unescape
from urllib.parse import parse_qsl
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from config.settings import Settings
from orders.errors import Malformed
from tests.bench import Bench, with_bench
from tests.cli import CommandLine, environment
from tests.sealing import KEY, as_superuser, seal, some_life
from tests.workers.console.pages import lines_of
from tests.workers.console.site import serving, text_of
from tests.workers.console.test_french import english
from workers import operations
from workers.console.access.people import Role
from workers.console.acts.act import Stopped
from workers.console.i18n import Words
from workers.console.labels import EVIDENCE, OUTCOMES
from workers.console.report import spans
from workers.console.report.acts import AUDIT, REPORT
from workers.console.report.store import AGE, KINDS, MOST_REPORTS, ReportStore
from workers.console.report.voice import in_file
from workers.operations import acting_as
from workers.proof.audit import prove
from workers.proof.report.incident import read_incident
from workers.proof.report.pdf import printed
from workers.proof.report.report import render
from workers.proof.report.report_model import contents


class Told:
    """What an act tells while it runs; stops it at once when asked to."""

    def __init__(self, stop: bool = False) -> None:
        self.stop = stop

    async def at(self, done: int, total: int | None, note: str = "") -> None:
        if self.stop:
            raise Stopped("stopped")


@pytest.fixture
def sealing(settings: Settings) -> Settings:
    return settings.replace(seal_key=KEY, anchor=str(settings.files.data_dir / "anchors.ndjson"))


def without_times(page: str) -> str:
    return re.sub(r"\d+ \w+\.? \d{4} \d\d:\d\d:\d\d", "TIME", page)


def test_a_report_is_what_the_command_line_writes_and_is_handed_out_shut_in(
    sealing: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with_bench(sealing, some_life)
    chosen = REPORT.choose({"since": "2024-10-19T08:00", "until": "2024-10-20T12:00"})

    async def work() -> str:
        async with serving(sealing) as site:
            jeanne = await site.enter(role=Role.VIEWER)
            state = site.app.state.console
            preview = await REPORT.preview(state, chosen, state.pages.words["en"])
            assert preview.orders is None
            with acting_as("jeanne"):
                outcome = await REPORT.run(state, chosen, "<script>alert(1)</script>", Told())
            assert outcome["sound"] is True
            where = outcome["report"]
            async with site.owner.connect() as connection:
                acts = (
                    await connection.execute(text("SELECT operator, act, reason FROM operations ORDER BY id DESC"))
                ).all()
            assert [tuple(row) for row in acts[:2]] == [
                ("jeanne", "report", "<script>alert(1)</script>"),
                ("jeanne", "audit", "<script>alert(1)</script>"),
            ]
            page = await jeanne.get(where)
            assert "No fault was found" in text_of(page)
            assert "<svg" in page.text
            assert 'style="' not in page.text
            assert "orders in 15 minutes" in page.text
            french = await jeanne.get(where, headers={"Accept-Language": "fr"})
            assert "commandes en 15 minutes" in french.text
            assert english(lines_of(french.text)) == []
            assert where in (await jeanne.get("/report")).text
            spoken = {"headers": {"Accept-Language": "fr"}}
            html, pdf = await jeanne.get(f"{where}.html", **spoken), await jeanne.get(f"{where}.pdf", **spoken)
            assert "Relais: report of an audit" in (await jeanne.get(f"{where}.html")).text, "her browser asks for it"
            for answer in (html, pdf):
                assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
                assert answer.headers["content-disposition"].startswith("attachment")
            assert pdf.headers["content-type"] == "application/pdf"
            assert pdf.content.startswith(b"%PDF-")
            for path in (sealing.files.data_dir / "reports").iterdir():
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert (await site.stranger().get(f"{where}.html")).status_code == 303
            return html.text

    made = asyncio.run(work())
    file = sealing.files.data_dir / "out.html"
    relais = CommandLine(capsys, environment(sealing))
    span = ("--since", "2024-10-19T08:00", "--until", "2024-10-20T12:00+02:00")
    like = ("--language", "fr", "--zone", "Europe/Paris")
    assert relais("audit", "--report", str(file), *span, *like, RELAIS_OPERATOR="jeanne").code == 0
    assert relais("audit", "--report", str(file), "--zone", "Europe/Nowhere").code == 2
    unsealed = r"(?<=<th>lignes non scellées</th><td>)\d+"
    assert re.sub(unsealed, "N", without_times(made)) == re.sub(unsealed, "N", without_times(file.read_text()))


def test_faults_and_remarks_are_told_in_french(sealing: Settings) -> None:
    async def spoilt(bench: Bench) -> None:
        await some_life(bench)
        await seal(bench)
        await as_superuser(
            bench,
            "UPDATE orders SET body = body || ' '",
            "DELETE FROM attempts WHERE ctid IN (SELECT ctid FROM attempts LIMIT 1)",
            "DELETE FROM deliveries WHERE ctid IN (SELECT ctid FROM deliveries LIMIT 2)",
        )

    async def work() -> list[str]:
        async with serving(sealing.replace(anchor=None)) as site:
            jeanne = await site.enter(role=Role.VIEWER)
            with acting_as("jeanne"):
                outcome = await REPORT.run(site.app.state.console, {}, "a doubt", Told())
            return [
                text_of(await jeanne.get(path, headers={"Accept-Language": language}))
                for path in (outcome["report"], "/operations")
                for language in ("fr", "en")
            ]

    with_bench(sealing, spoilt)
    french, english, acts, _ = asyncio.run(work())
    for told, says in (
        ("3 orders whose bytes were altered", "3 commandes dont le contenu a été modifié"),
        ("2 orders without a delivery", "2 commandes sans livraison"),
        ("block 1: rows of orders altered", "bloc 1 : des lignes de orders ont été modifiées"),
        ("block 1: 1 row missing from attempts", "bloc 1 : 1 ligne manque dans attempts"),
        ("compared with no anchor", "comparé à aucun ancrage"),
    ):
        assert told in english and told not in french
        assert says in french
    assert "2 commandes sans livraison" in acts, "as the journal keeps it of the audit"


class Heard(Words):
    """French, and every message that it was asked for."""

    def __init__(self) -> None:
        super().__init__("fr", ZoneInfo("Europe/Paris"))
        self.asked: set[str] = set()

    def of_room(self, room: str) -> Words:
        found = super().of_room(room)
        assert isinstance(found, Heard)
        return found

    def gettext(self, message: str) -> str:
        self.asked.add(message)
        return super().gettext(message)

    def ngettext(self, one: str, many: str, n: int) -> str:
        self.asked.add(one)
        return super().ngettext(one, many, n)


async def incident(bench: Bench) -> None:
    """A row in every table of a report, with each code that can stand there."""
    await some_life(bench)
    await seal(bench)
    await operations.pause(bench.by("ops"), bench.settings, "erp", "stocktaking")
    (order,) = await bench.accept(1)
    await as_superuser(
        bench,
        "UPDATE orders SET body = body || ' ' WHERE received_at = (SELECT min(received_at) FROM orders)",
        *(
            "INSERT INTO attempts (order_id, lease, started_at, ended_at, outcome, detail, worker) "
            f"VALUES ('{order}', gen_random_uuid(), now(), now(), '{outcome}', '', 'w')"
            for outcome in OUTCOMES
        ),
        *(
            "INSERT INTO evidence (backend, lease, kind, conclusive, detail) "
            f"VALUES ('erp', gen_random_uuid(), '{kind}', true, '')"
            for kind in EVIDENCE
        ),
        "INSERT INTO reconciliations (backend, since, until, started_by, cursor_at, cursor_id) "
        "VALUES ('erp', now(), now(), 'alice', now(), gen_random_uuid())",
        "INSERT INTO outages (backend, began_at, opened_at, failed_at, failures, why) "
        """VALUES ('erp', now(), now(), now(), 2, '{"code": "met", "detail": "no answer in time: Mme Weiss"}')""",
        f"UPDATE deliveries SET state = 'dead', reason = 'stale', settled_at = now() WHERE order_id = '{order}'",
        """UPDATE backends SET circuit = 'half_open', held_why = '{"code": "failures"}'""",
    )


def test_every_word_of_a_report_is_in_french_and_its_zone_is_said_once(sealing: Settings) -> None:
    async def work(bench: Bench) -> tuple[str, bytes]:
        await incident(bench)
        proof = await prove(bench.by("audit"), bench.settings)
        made = contents(proof, await read_incident(bench.by("audit"), None, None, proof.at))
        assert [each.title for each in made.sections if not each.rows] == []
        return render(made, voice), printed(made, voice)

    words = Heard()
    voice = in_file(words, "Europe/Paris")
    page, paper = with_bench(sealing, work)
    heard = voice.words
    assert isinstance(heard, Heard)
    same = {"pause", "circuit", "audit", "client", "{detail}"}  # French has the very word
    assert {word for word in heard.asked - same if heard.gettext(word) == word} == set()
    assert len(heard.asked) > 100 and b"/Lang (fr)" in paper
    assert english(lines_of(page)) == []
    assert (page.count("Europe/Paris"), "UTC" in page, " CET" in page) == (1, False, False)
    codes = {*OUTCOMES, *EVIDENCE, "half_open", "stale", "running", "changed_at"}
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", page)
    assert codes & {*cells} == set()
    for told in (
        "pas prise, peut repartir",  # an attempt's outcome
        "en essai",  # a circuit
        "un accusé de réception pour d'autres octets que ceux envoyés",  # a kind of evidence
        "elle est trop ancienne pour partir sans l'accord d'une personne",  # a reason
        "en cours, ou interrompu",  # a reconciliation
        "pas de réponse à temps (masqué)",  # what an outage met
        "circuit ainsi depuis",
        "1\xa0en\xa0souffrance",
    ):
        assert told in unescape(page), told
    tables = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    moments = re.findall(r"\d\d:\d\d:\d\d", tables)
    assert len(moments) == len(re.findall(r"\d+ \w+\.? \d{4} \d\d:\d\d:\d\d", tables)) > 20, "one format of times"


def test_the_command_line_prints_a_pdf_where_the_name_says_so(
    sealing: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with_bench(sealing, some_life)
    file = sealing.files.data_dir / "out.pdf"
    assert CommandLine(capsys, environment(sealing))("audit", "--report", str(file)).code == 0
    content = file.read_bytes()
    assert (content[:5], content.rstrip()[-5:]) == (b"%PDF-", b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b", content)) >= 2
    streams = re.findall(rb"stream\n(.*?)\nendstream", content, re.DOTALL)
    drawn = [zlib.decompress(each) for each in streams if each[:1] == b"\x78"]
    assert any(b" re\n" in each or b" re f" in each for each in drawn), "the timeline is drawn as vectors"


def test_an_erps_words_are_masked_in_the_files_of_a_report(settings: Settings) -> None:
    met = {
        "code": "proved",
        "evidence": "wrong_digest",
        "order": str(uuid4()),
        "detail": "no answer in time: Mme Weiss",
    }
    held = text("""INSERT INTO backends (name, "window", quarantined, quarantined_at, quarantined_by, held_why)
      VALUES ('erp', 1, true, now(), 'relais', :met)""")
    acted = text("INSERT INTO operations (operator, act, reason, detail) VALUES ('jeanne', 'release', 'y', :detail)")
    detail = {"held_why": met, "note": "for Mme Weiss", "was": {"error": "unfit: Mme Weiss", "raw": ["Mme Weiss"]}}

    async def work() -> None:
        async with serving(settings) as site:
            vera = await site.enter("vera", Role.VIEWER)
            async with site.owner.connect() as connection:
                await connection.execute(held, {"met": json.dumps(met)})
                await connection.execute(acted, {"detail": json.dumps(detail)})
            with acting_as("jeanne"):
                made = (await REPORT.run(site.app.state.console, {}, "a doubt", Told()))["report"]
            for path in (made, f"{made}.html"):
                page = (await vera.get(path)).text
                assert "Weiss" not in page and "no answer in time" in page, path
            kept = (settings.files.data_dir / "reports").glob("*.json")
            assert [b"Weiss" in file.read_bytes() for file in kept] == [False]

    asyncio.run(work())


def test_outages_are_in_the_report_and_the_last_can_be_chosen_after_it_is_over(settings: Settings) -> None:
    met = json.dumps({"code": "met", "detail": "no answer in time: Mme Weiss"})
    past = text("""INSERT INTO outages (backend, began_at, opened_at, failed_at, ended_at, failures, why)
        VALUES ('erp', '2026-01-05T08:10:30Z', '2026-01-05T08:10:31Z', '2026-01-05T08:17:59Z',
          '2026-01-05T08:18:20Z', 111, CAST(:met AS jsonb))""").bindparams(met=met)
    again = text("""INSERT INTO outages (backend, began_at, opened_at, failed_at, failures, why)
        VALUES ('erp', '2026-01-06T08:10:30Z', now(), now(), 2, CAST(:met AS jsonb))""").bindparams(met=met)

    async def work() -> None:
        async with serving(settings) as site:
            jeanne, english = await site.enter(role=Role.VIEWER), {"headers": {"Accept-Language": "en"}}
            assert "incident</a>" not in (await jeanne.get("/report", **english)).text
            async with site.owner.connect() as connection:
                await connection.execute(past)
                found = (await jeanne.get("/report", **english)).text
                span = "since=2026-01-05T09%3A09&amp;until=2026-01-05T09%3A20"  # Paris, a minute on either side
                assert f'/report?{span}" aria-current="true">the last incident</a>' in found
                with acting_as("jeanne"):
                    chosen = {"since": "2026-01-05T08:15:00+00:00", "until": "2026-01-05T08:20:00+00:00"}
                    told = (await REPORT.run(site.app.state.console, chosen, "a doubt", Told()))["report"]
                    later = {"since": "2026-01-05T08:19:00+00:00", "until": "2026-01-05T08:20:00+00:00"}
                    after = (await REPORT.run(site.app.state.console, later, "a doubt", Told()))["report"]
                page = text_of(await jeanne.get(told, headers={"Accept-Language": "fr"}))
                for said in ("Pannes des ERP", "09:10:30 CET", "09:18:20 CET", "111"):
                    assert said in page, said
                assert "pas de réponse à temps" in page
                assert "Weiss" not in page + (await jeanne.get(f"{told}.html")).text
                assert "111" not in text_of(await jeanne.get(after))
                await connection.execute(again)
                found = (await jeanne.get("/report", **english)).text
                assert '/report?since=2026-01-06T09%3A09" aria-current="true">this incident</a>' in found

    asyncio.run(work())


def test_the_span_of_an_incident_holds_all_of_its_failures(settings: Settings) -> None:
    """Its first attempt failed just after a minute began, one that was under way as it ended failed just after."""
    outage = text("""INSERT INTO outages (backend, began_at, opened_at, failed_at, ended_at, failures)
        VALUES ('erp', '2025-10-26T00:30:00.2Z', '2025-10-26T00:31:00Z', '2025-10-26T01:18:00Z',
          '2025-10-26T01:18:59.9Z', 3)""")
    failed = text("""INSERT INTO attempts (order_id, lease, started_at, ended_at, outcome, detail, worker)
        SELECT gen_random_uuid(), gen_random_uuid(), at, at, 'transient', '', 'w' FROM unnest(CAST(ARRAY[
          '2025-10-26T00:30:00.2Z', '2025-10-26T01:18:00Z', '2025-10-26T01:19:00.4Z'] AS timestamptz[])) AS at""")

    async def work() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter(role=Role.VIEWER)
            async with site.owner.connect() as connection:
                for statement in (outage, failed):
                    await connection.execute(statement)
            page = unescape((await jeanne.get("/report", headers={"Accept-Language": "en"})).text)
            asked = re.search(r'/report\?([^"]+)" aria-current="true">the last incident', page)
            assert asked is not None
            span = dict(parse_qsl(asked[1]))
            assert span == {"since": "2025-10-26T02:29", "until": "2025-10-26T02:20"}, "clocks go back at three"
            since, until = spans.span(spans.choose(span), "Europe/Paris")
            told = await read_incident(site.app.state.console.engine, since, until, datetime.now(UTC))
            assert (told.total("failed"), len(told.outages)) == (3, 1), "as the journal has it"
            followed = await jeanne.get(f"/report?{asked[1]}")
            assert f'value="{span["until"]}"' in followed.text

    asyncio.run(work())


def test_a_span_that_is_typed_to_the_second_is_not_made_smaller(settings: Settings) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter(role=Role.VIEWER)
            page = (await jeanne.get("/report?since=2026-01-05T09:10:40&until=2026-01-05T09:18:20")).text
            assert 'value="2026-01-05T09:10"' in page and 'value="2026-01-05T09:19"' in page

    asyncio.run(work())


def test_an_act_that_is_stopped_leaves_no_report(settings: Settings) -> None:
    async def work() -> None:
        async with serving(settings) as site:
            await site.enter()
            for act in (AUDIT, REPORT):
                with pytest.raises(Stopped):
                    await act.run(site.app.state.console, {}, "why", Told(stop=True))
            assert not (settings.files.data_dir / "reports").exists()

    asyncio.run(work())


def test_a_span_that_is_none_and_a_report_that_is_none_are_refused(settings: Settings) -> None:
    for fields in ({"since": "yesterday"}, {"until": "9999-01-01T00:00"}, {"since": "\x00"}):
        with pytest.raises(Malformed):
            REPORT.choose(fields)
    (settings.files.data_dir / "reports").mkdir()
    (settings.files.data_dir / "secret.html").write_text("secret")

    async def work() -> None:
        async with serving(settings) as site:
            jeanne = await site.enter(role=Role.VIEWER)
            assert (await jeanne.get("/report")).status_code == 200
            assert (await jeanne.get("/report?since=nonsense")).status_code == 422
            assert (await jeanne.get("/report?since=2024-10-20T00:00&until=2024-10-19T00:00")).status_code == 422
            for name in (
                str(uuid4()),
                f"{uuid4()}.html",
                f"{uuid4()}.exe",
                "x.html",
                "..%2fsecret.html",
                "%2e%2e%2fsecret.html",
                "..",
                "%00.html",
                f"{uuid4()}.json",
                "..%5csecret.html",
            ):
                found = await jeanne.get(f"/report/{name}")
                assert (found.status_code in (404, 303, 200), "secret" in found.text) == (True, False), name
                assert found.status_code == 404 or name == "..", name

    asyncio.run(work())


def test_reports_go_when_they_are_too_old_or_too_many(settings: Settings) -> None:
    store, files = ReportStore(settings.files.data_dir), {**dict.fromkeys(KINDS, b"x"), "json": b'{"head": {}}'}
    first, old = uuid4(), uuid4()
    store.put(old, files)
    for kind in files:
        path = store.place / f"{old}.{kind}"
        os.utime(path, (time.time() - AGE - 10,) * 2)
    assert (store.file(str(old), "fr.html"), store.all()) == (None, [])
    store.put(first, files)
    assert not list(store.place.glob(f"{old}*"))
    for kind in files:
        os.utime(store.place / f"{first}.{kind}", (time.time() - 60,) * 2)
    for _ in range(MOST_REPORTS):
        store.put(uuid4(), files)
    assert (len(store.all()), len(list(store.place.iterdir()))) == (MOST_REPORTS, len(KINDS) * MOST_REPORTS)
    assert store.file(str(first), "fr.pdf") is None
