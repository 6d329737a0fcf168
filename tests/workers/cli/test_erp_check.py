"""`relais erp check`: what it finds of an ERP that is fit, and of every one that is not; nothing is sent."""

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded.leash import Leash
from config.embedded.ports import choose
from config.settings import Settings
from tests.cli import CommandLine, Done, command, environment, running
from tests.journal import Journal
from tests.workers.cli.json_shapes import faults_of

SECRET = "not-to-be-shown"


class Operated:
    """A simulator as a process, and the operator."""

    def __init__(self, relais: CommandLine, control: str) -> None:
        self.relais, self.control = relais, control

    def dial(self, **knobs: object) -> None:
        request = urllib.request.Request(f"{self.control}/_dial", json.dumps(knobs).encode(), method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def orders(self) -> list[str]:
        with urllib.request.urlopen(f"{self.control}/_orders", timeout=10) as answer:
            told: list[str] = json.load(answer)["ids"]
            return told


@pytest.fixture
def site(settings: Settings, leash: Leash, capsys: pytest.CaptureFixture[str]) -> Iterator[Operated]:
    port, control = choose(), choose()
    settings = settings.replace(erp_url=f"http://127.0.0.1:{port}", erp_timeout=2.0, erp_token=SECRET)
    relais = CommandLine(capsys, environment(settings))
    sim = command("erp-sim", "--port", str(port), "--control-port", str(control))
    with running(leash, "erp-sim", sim, relais.env, ready="control"):
        yield Operated(relais, f"http://127.0.0.1:{control}")


def findings(done: Done) -> dict[str, tuple[str, str]]:
    """By its name, what each came to and what was seen."""
    assert SECRET not in done.out + done.err
    lines = [line for line in done.out.splitlines() if line]
    return {line[11:].partition(": ")[0]: (line[:10].strip(), line.partition(": ")[2]) for line in lines}


def test_an_erp_that_is_fit_and_one_that_is_not(site: Operated) -> None:
    good = site.relais("erp", "check", "erp")
    told = findings(good)
    assert good.code == 0, good.out
    expected = ["settings", "name", "reach", "certificate", "ERP's clock", "service", "credentials", "find"]
    expected += ["receipts", "duplicates", "not found", "decision", "journal's clock", "mapping"]
    assert [*told] == expected
    assert {verdict for verdict, _ in told.values()} == {"ok", "not known"}
    assert told["duplicates"] == ("ok", "exactly once: the ERP refuses a second order of one reference")
    assert told["decision"] == ("not known", "one that never comes raises no alert: set RELAIS_ERP_ACK_WITHIN")
    assert told["mapping"] == ("ok", "none is needed: it gets orders as they are")
    assert told["ERP's clock"] == ("not known", "its answers bear no date"), "the simulator's do not"
    set_up = {"RELAIS_ERP_IDEMPOTENT": "false", "RELAIS_ERP_ACK_WITHIN": "90", "RELAIS_ERP_ABSENT_AFTER": "60"}
    told = findings(site.relais("erp", "check", **set_up))
    assert told["duplicates"][1].startswith("at most one duplicate, detected")
    assert (told["decision"], told["not found"]) == (("ok", "overdue after 90 s"), ("ok", "believed after 60 s"))

    site.dial(error_rate=1.0, error_status=401)
    told = findings(barred := site.relais("erp", "check", "erp"))
    assert (barred.code, told["credentials"][0], told["find"][0]) == (1, "would fail", "would fail")
    site.dial(error_rate=1.0, error_status=500)
    told = findings(site.relais("erp", "check", "erp"))
    assert (told["credentials"], told["find"][0]) == (("not known", "it did not come to that"), "would fail")
    site.dial(hanging=True)
    began = time.monotonic()
    told = findings(hanging := site.relais("erp", "check", "erp"))
    assert (hanging.code, told["reach"][0], told["ERP's clock"][0]) == (1, "ok", "not known")
    assert time.monotonic() - began < 30, "each look has its time"
    site.dial(down=True)
    told = findings(down := site.relais("erp", "check", "erp"))
    assert (down.code, told["reach"][0], "service" in told) == (1, "would fail", True)
    assert told["service"] == ("not known", "it was not asked, since it cannot be reached")
    site.dial()
    assert site.orders() == [], "no order was sent"


def test_what_is_wrong_on_our_side(site: Operated, journal: Journal, tmp_path: Path) -> None:
    report = json.loads(site.relais("erp", "check", "--json").out)
    assert faults_of("erp check", report) == []
    assert (report["backend"], report["kind"], report["sound"]) == ("erp", "http", True)
    nowhere = {"RELAIS_DATABASE_URL": "postgresql://relais:secret@127.0.0.1:1/relais"}
    told = findings(away := site.relais("erp", "check", **nowhere))
    assert told["mapping"][1] == "none is needed: it gets orders as they are"
    assert told["journal's clock"] == ("not known", "the journal is out of reach")
    assert (away.code, "secret" in away.out) == (1, False), "keys of receipts cannot be read"
    lame = findings(site.relais("erp", "check", RELAIS_ERP_URL="http://nowhere.invalid"))
    assert lame["name"][0] == "would fail"
    assert "reach" not in lame
    pinned = findings(site.relais("erp", "check", RELAIS_ERP_PIN="0" * 64))
    assert pinned["certificate"] == ("would fail", "one is pinned, and RELAIS_ERP_URL is not https")

    own = tmp_path / "own.toml"
    own.write_text('database = "erp"\nuser = "relais"\npassword_file = "none"\ncompany = 1\n')
    tryton = {"RELAIS_ERP_KIND": "tryton", "RELAIS_ERP_CONNECTOR": str(own)}
    broken = site.relais("erp", "check", **tryton)
    assert (broken.code, broken.out) == (1, f"would fail settings: erp, {own}, currency: Field required\n")
    own.write_text(own.read_text() + "currency = 1\n")
    journal.accept(2)
    told = findings(site.relais("erp", "check", **tryton))
    assert told["credentials"][0] == "would fail"
    assert told["mapping"] == (
        "would fail",
        "2 codes of 2 of its last 2 orders are not mapped: pharmacy P1, product 3400937318044",
    )
    assert told["duplicates"][1].startswith("at most one duplicate, detected")
