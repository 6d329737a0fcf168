"""`relais order`: orders filtered, page after page, saved, and cancelled; acts on what the same filters choose."""

import csv
import json
from pathlib import Path

import pytest

from config.settings import Settings
from tests.cli import CommandLine, environment
from tests.journal import Journal


@pytest.fixture
def relais(settings: Settings, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys, environment(settings))


def test_orders_are_listed_by_filter_page_after_page_and_saved(
    relais: CommandLine, journal: Journal, tmp_path: Path
) -> None:
    ids = [str(each) for each in sorted(journal.accept(5), reverse=True)]
    [urgent] = journal.accept(1, priority="urgent", pharmacy="P2", reference="=1+1")
    journal.bury([urgent], "refused")

    def listed(*options: str) -> list[str]:
        return [row["id"] for row in json.loads(relais("order", "list", *options, "--json").out)["orders"]]

    assert listed() == [str(urgent), *ids]
    assert (
        listed("--priority", "urgent") == listed("--reason", "refused") == listed("--pharmacy", "P2") == [str(urgent)]
    )
    assert listed("--state", "accepted", "--client", "test", "--product", "3400937318044", "--backend", "erp") == ids
    assert (listed("--older", "1h"), listed("--younger", "1h", "--state", "dead")) == ([], [str(urgent)])
    assert (listed("--older", "36500d"), listed("--younger", "36500d", "--limit", "1")) == ([], [str(urgent)])
    first = json.loads(relais("order", "list", "--limit", "4", "--json").out)
    assert first["next"] == ids[2]
    assert listed("--after", first["next"]) == ids[3:]
    shown = relais("order", "list", "--limit", "4")
    assert (shown.code, f"There are more: --after {ids[2]}" in shown.err, "=1+1" in shown.out) == (0, True, True)
    wrong = relais("order", "list", "--product", "3400937318045")
    assert (wrong.code, "its check digit is wrong" in wrong.err) == (2, True)

    saved = relais("order", "list", "--save", str(tmp_path / "all.csv"))
    assert (saved.code, f"6 orders saved in {tmp_path / 'all.csv'}." in saved.out.replace("\n", "")) == (0, True)
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert ([row["id"] for row in rows], rows[0]["reference"]) == ([str(urgent), *ids], "'=1+1")
    assert relais("order", "list", "--state", "accepted", "--save", str(tmp_path / "some.ndjson")).code == 0
    lines = (tmp_path / "some.ndjson").read_text().splitlines()
    assert [json.loads(each)["id"] for each in lines] == ids
    assert relais("order", "list", "--save", str(tmp_path / "all.xls")).code == 2


def test_what_a_filter_chooses_is_cancelled_replayed_and_discarded(relais: CommandLine, journal: Journal) -> None:
    waiting = journal.accept(3, pharmacy="P2")
    sure, unsure, other = journal.accept(3, pharmacy="P3", lines=[{"product": "3400938617061", "quantity": 1}])
    journal.bury([sure], "refused")
    journal.sql("UPDATE deliveries SET unsure = true WHERE order_id = :id", id=unsure)
    dry = json.loads(relais("order", "cancel", "--pharmacy", "P3", "--because", "by phone", "--dry-run", "--json").out)
    assert dry == {"preview": {"orders": 1, "urgent": 0, "moving": 0}, "cancelled": 0}
    unasked = relais("order", "cancel", "--pharmacy", "P2", "--because", "by phone")
    assert (unasked.code, str(waiting[0]) in unasked.out.replace("\n", "")) == (2, True)
    assert relais("order", "cancel", "--because", "by phone", "--yes").code == 2
    assert relais("order", "cancel", "--pharmacy", "P2", "--because", " ", "--yes").code == 2
    named = relais("order", "cancel", str(sure), str(unsure), "--because", "by phone", "--yes")
    assert (named.code, "only 1 of 2 can be cancelled" in named.err) == (1, True)
    move = "UPDATE deliveries SET state = :state WHERE order_id = :id"
    journal.sql(move, state="dispatched", id=waiting[0])
    pause = "1 more is on its way to the ERP: `relais pause BACKEND --because WHY` first"
    assert pause in relais("order", "cancel", str(waiting[0]), "--because", "by phone", "--yes").err
    assert pause in relais("order", "cancel", "--pharmacy", "P2", "--because", "by phone", "--dry-run").out
    journal.sql(move, state="accepted", id=waiting[0])
    assert journal.operations() == []
    done = relais("order", "cancel", "--pharmacy", "P2", "--client", "test", "--because", "by phone", "--yes")
    assert (done.code, "3 orders cancelled." in done.out) == (0, True)
    for none in ({"--priority": "urgent"}, {"--product": "3400937318044"}, {"--client": "x"}, {"--backend": "x"}):
        options = [each for pair in none.items() for each in pair]
        assert (
            json.loads(relais("dead", "replay", "--because", "a test", *options, "--yes", "--json").out)["replayed"]
            == 0
        )
    fits = ("--product", "3861706", "--backend", "erp", "--priority", "normal", "--client", "test")
    gone = json.loads(relais("dead", "discard", *fits, "--because", "no use", "--yes", "--json").out)
    assert (gone["preview"]["orders"], gone["discarded"]) == (1, 1)
    assert relais("order", "cancel", str(other), "--because", "by phone", "--yes").code == 0
    assert journal.operations() == [
        ("orders cancel", "by phone"),
        ("discard", "no use"),
        ("orders cancel", "by phone"),
    ]
    states = dict(journal.sql("SELECT state, count(*) FROM deliveries GROUP BY state"))
    assert states == {"cancelled": 4, "discarded": 1, "accepted": 1}
