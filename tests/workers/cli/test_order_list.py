"""`relais order list`: orders filtered, page after page, and saved."""

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
    first = json.loads(relais("order", "list", "--limit", "4", "--json").out)
    assert first["next"] == ids[2]
    assert listed("--after", first["next"]) == ids[3:]
    shown = relais("order", "list", "--limit", "4")
    assert (shown.code, f"There are more: --after {ids[2]}" in shown.err, "=1+1" in shown.out) == (0, True, True)
    wrong = relais("order", "list", "--product", "3400937318045")
    assert (wrong.code, "relais: --product its check digit is wrong" in wrong.err) == (2, True)

    saved = relais("order", "list", "--save", str(tmp_path / "all.csv"))
    assert (saved.code, f"6 orders saved in {tmp_path / 'all.csv'}." in saved.out.replace("\n", "")) == (0, True)
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert ([row["id"] for row in rows], rows[0]["reference"]) == ([str(urgent), *ids], "'=1+1")
    assert relais("order", "list", "--state", "accepted", "--save", str(tmp_path / "some.ndjson")).code == 0
    lines = (tmp_path / "some.ndjson").read_text().splitlines()
    assert [json.loads(each)["id"] for each in lines] == ids
    assert relais("order", "list", "--save", str(tmp_path / "all.xls")).code == 2
