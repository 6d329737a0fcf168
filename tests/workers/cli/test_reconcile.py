"""`relais reconcile` as an operator types it, against a journal and a simulator that an intruder was in."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from config.durations import instant
from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from tests.bench import Bench
from tests.cli import CommandLine, command, environment, running
from tests.journal import Journal
from tests.machines.roles import above, logged_in_to
from workers.delivery.deliver import deliver
from workers.erp.http import HttpErp


class Operated:
    """A journal, a simulator as a process, and the operator."""

    def __init__(self, settings: Settings, relais: CommandLine, control: str) -> None:
        self.settings, self.relais, self.control = settings, relais, control
        self.sql = Journal(above(settings.need("database_url"))).sql

    def deliver(self, count: int) -> list[UUID]:
        async def work() -> list[UUID]:
            erp = HttpErp(self.settings)
            async with logged_in_to(self.settings.need("database_url")) as logins:
                bench = Bench(logins["worker"], self.settings, logins)
                ids = await bench.accept(count)
                done = await deliver(bench.resources(erp), await bench.dispatch())  # type: ignore[arg-type]
                assert done.claimed == count
            await erp.close()
            return ids

        return asyncio.run(work())

    def sim(self, path: str, method: str = "POST", **body: object) -> dict[str, Any]:
        request = urllib.request.Request(self.control + path, json.dumps(body).encode(), method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            told: dict[str, Any] = json.load(answer)
            return told


@pytest.fixture
def site(settings: Settings, leash: Leash, capsys: pytest.CaptureFixture[str]) -> Iterator[Operated]:
    port, control = choose(), choose()
    settings = settings.replace(erp_url=f"http://127.0.0.1:{port}")
    relais = CommandLine(capsys, environment(settings))
    sim = command("erp-sim", "--port", str(port), "--control-port", str(control))
    with running(leash, "erp-sim", sim, relais.env, ready="control"):
        yield Operated(settings, relais, f"http://127.0.0.1:{control}")


def test_an_operator_asks_a_quarantined_erp_and_sees_what_was_done_to_it(site: Operated) -> None:
    relais = site.relais
    site.deliver(4)
    (forgotten,) = site.sim("/_forget", last=0.25)["ids"]
    altered = next(order_id for order_id in site.sim("/_orders", "GET")["ids"] if order_id != forgotten)
    site.sim("/_alter", id=altered, reference="ELSE-1")
    planted = site.sim("/_plant")["id"]
    site.sql("UPDATE backends SET quarantined = true, held_why = '\"intrusion\"'")
    done = relais("reconcile", "erp", "--since", "2h", "--because", "a test", "--json")
    report = json.loads(done.out)
    kinds = {found["id"]: found["kind"] for found in report["findings"]}
    assert kinds == {planted: "foreign", altered: "altered", forgotten: "missing"}
    assert (done.code, report["present"], report["state"], report["listing"]) == (1, 2, "done", "whole")
    assert "--resume 1" in done.err
    table = relais("reconcile", "--resume", "1", "--limit", "2")
    assert (table.code, "ELSE-1" in table.out, planted in table.out, "And 1 more" in table.out) == (
        1,
        True,
        True,
        True,
    )
    dry = relais("reconcile", "--resume", "1", "--resend", "--dry-run")
    assert (dry.code, forgotten in dry.out, "To be sent again" in dry.out) == (1, True, True)
    unasked = relais("reconcile", "--resume", "1", "--resend", "--because", "restored")
    assert (unasked.code, "--yes" in unasked.err) == (2, True)
    assert site.sql("SELECT count(*) FROM deliveries WHERE state <> 'delivered'")[0][0] == 0
    resent = relais("reconcile", "--resume", "1", "--resend", "--yes", "--because", "restored", "--json")
    told = json.loads(resent.out)
    assert (resent.code, told["resent"], told["resend"]["orders"], told["state"]) == (1, 1, 1, "resent")
    assert [row.order_id for row in site.sql("SELECT order_id FROM deliveries WHERE state = 'accepted'")] == [
        UUID(forgotten)
    ], "it waits for the release"
    assert [(row.act, row.reason) for row in site.sql("SELECT act, reason FROM operations ORDER BY id")] == [
        ("reconcile", "a test"),
        ("resend", "restored"),
    ]
    (run,) = json.loads(relais("reconcile", "--list", "--json").out)
    assert (run["id"], run["state"], run["missing"], run["altered"], run["foreign"]) == (1, "resent", 1, 1, 1)
    assert relais("reconcile", "--list").code == 0
    assert relais("reconcile", "--resume", "7").code == 1


def test_a_run_that_is_cut_short_is_offered_and_resumed(site: Operated) -> None:
    relais = site.relais
    site.deliver(3)
    site.sim("/_dial", "PUT", down=True)
    gone = relais("reconcile", "--since", "1h", "--because", "a test", "--patience", "0.2s")
    assert (gone.code, "out of reach" in gone.err, "--resume 1 --because WHY` goes on" in gone.err) == (2, True, True)
    site.sim("/_dial", "PUT")
    other = relais("reconcile", "--since", "1h", "--because", "a test", "--json")
    assert (other.code, json.loads(other.out)["id"]) == (0, 2)
    assert "Reconciliation 1 of" in other.err and "--resume 1" in other.err
    assert "not done: say why it goes on" in relais("reconcile", "--resume", "1").err
    resumed = relais("reconcile", "--resume", "1", "--because", "the ERP is back", "--json")
    assert site.sql("SELECT reason FROM operations WHERE act = 'reconcile resume'")[0][0] == "the ERP is back"
    assert (resumed.code, json.loads(resumed.out)["present"]) == (0, 3)
    assert relais("reconcile", "other", "--resume", "1").code == 2


def test_ctrl_c_cuts_it_short_and_says_how_to_go_on(site: Operated, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    site.deliver(2)
    site.sim("/_forget", last=1)
    with monkeypatch.context() as patched:
        patched.setattr("workers.reconcile.compare.reconcile", interrupted)
        asking = site.relais("reconcile", "--since", "1h", "--because", "a test")
    assert (asking.code, "`relais reconcile --resume 1 --because WHY` goes on" in asking.err) == (130, True)
    with monkeypatch.context() as patched:
        patched.setattr("workers.reconcile.resend.resend", interrupted)
        sending = site.relais("reconcile", "--resume", "1", "--resend", "--yes", "--because", "a test")
    assert (sending.code, "--resume 1 --resend --because WHY` puts back the rest" in sending.err) == (130, True)
    assert site.relais("reconcile", "--resume", "1", "--resend", "--yes", "--because", "a test").code == 0


def test_times_as_people_type_them() -> None:
    assert instant("2026-01-05T18:00:00Z") == instant("2026-01-05T19:00:00+01:00")
    assert 86_000 < (instant("0s") - instant("1d")).total_seconds() < 87_000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "say --since TIME"),
        (("--since", "1h", "--list"), "say --since TIME"),
        (("--since", "1h", "--dry-run"), "--dry-run goes with --resend"),
        (("--since", "2999-01-01T00:00:00Z"), "not over yet"),
        (("--since", "1h", "--until", "2h"), "earlier --since"),
        (("--since", "yesterday"), "--since"),
        (("--since", "2026-01-05T18:00:00"), "--since"),
        (("--since", "20260105"), "--since"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    env = {"RELAIS_DATA_DIR": str(tmp_path), "RELAIS_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    done = CommandLine(capsys, env)("reconcile", *arguments)
    assert (done.code, says in done.err) == (2, True), done


def test_a_backend_that_is_not_known_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    env = {"RELAIS_DATA_DIR": str(tmp_path), "RELAIS_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    done = CommandLine(capsys, env)("reconcile", "other", "--since", "1h", "--because", "a test")
    assert (done.code, "no backend other is known here; known are erp" in done.err) == (1, True)


def test_the_year_one_is_no_time_and_leaves_nothing_behind(site: Operated, tmp_path: Path) -> None:
    relais = site.relais
    for year in ("0001-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "3000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        for asked in (("reconcile", "--since"), ("audit", "--since"), ("audit", "--until"), ("forecast", "--at")):
            done = relais(*asked, year)
            says = "a time is 14:30" if asked[0] == "forecast" else "a time lies in the years 1900 to 2999"
            assert (done.code, says in done.err) == (2, True), done.err
    assert site.sql("SELECT count(*) FROM reconciliations") == [(0,)]
    assert relais("reconcile", "--list").code == 0
    assert json.loads(relais("reconcile", "--list", "--json").out) == []
    assert relais("audit", "--report", str(tmp_path / "report.html")).code == 0
