"""How tables look: no word is cut, ids are no counts, and one is one."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders.sentences import Code, Sentence
from workers.cli import show, tables
from workers.cli.tables import Cell

WORDS = st.lists(st.text("abcdefgh-/:", min_size=1, max_size=30), max_size=12).map(" ".join)
ID = "0197a3c2-1111-7000-8000-000000000001"


@given(st.lists(st.lists(WORDS.map(Cell), min_size=4, max_size=4), max_size=5), st.integers(20, 160))
def test_no_word_is_cut_and_nothing_is_lost_at_any_width(rows: list[list[Cell]], width: int) -> None:
    lines = tables.table(["one", "two", "three", "four"], rows, width)
    shown = " ".join(lines).split()
    for cell in (cell for row in rows for cell in row):
        for word in cell.text.split():
            assert word in shown
    longest = max([len(word) for row in rows for cell in row for word in cell.text.split()], default=0)
    assert max(map(len, lines), default=0) <= max(width, len("three") + 2 + max(20, longest))


def test_what_fits_stands_side_by_side_and_what_does_not_one_below_the_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = datetime(2026, 1, 5, 12, tzinfo=UTC)
    row = {"id": ID, "orders": 12345, "reference": "CMD-2026-000123", "state": "delivered", "received_at": at}
    monkeypatch.setenv("COLUMNS", "120")
    show.table("Orders", [row], (*row,))
    wide = capsys.readouterr().out.splitlines()
    assert (len(wide), wide[1].split()) == (3, ["id", "orders", "reference", "state", "received", "at"])
    assert wide[2].split() == [ID, "12,345", "CMD-2026-000123", "delivered", "2026-01-05", "12:00:00Z"]
    monkeypatch.setenv("COLUMNS", "70")
    show.table("Orders", [row], (*row,))
    assert capsys.readouterr().out.splitlines() == [
        "Orders",
        f"id           {ID}",
        "orders       12,345",
        "reference    CMD-2026-000123",
        "state        delivered",
        "received at  2026-01-05 12:00:00Z",
    ]


def test_a_line_breaks_between_words_at_a_terminal_and_nowhere_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = f"the digest that another operator approves is {'0123456789abcdef' * 6} and no other"
    monkeypatch.delenv("COLUMNS", raising=False)  # who runs tests in several processes sets it
    show.line(told)
    assert capsys.readouterr().out == f"{told}\n"
    monkeypatch.setenv("COLUMNS", "60")
    show.line(told)
    said = capsys.readouterr().out
    assert said.split() == told.split()
    assert [line for line in said.splitlines() if len(line) > 60] == ["0123456789abcdef" * 6]


def test_ids_have_no_separators_and_counts_have() -> None:
    assert [show.cell(4503599627370, heading).text for heading in ("id", "orders")] == [
        "4503599627370",
        "4,503,599,627,370",
    ]
    assert show.cell(503, "status").text == "503"


def test_one_is_one() -> None:
    assert [show.count(number, "order") for number in (0, 1, 2500)] == ["0 orders", "1 order", "2,500 orders"]
    assert show.count(1, "order is", "orders are") == "1 order is"


def test_an_erps_words_are_masked_in_a_cell_as_in_the_console() -> None:
    assert show.erp_words("unavailable: M. Dupont is away") in ("unavailable (masked)", "(masked)")
    assert show.erp_words("order without a product", whole=True) == "order without a product"
    refused = Sentence(Code.BECAME, kind="refused", detail="ask for M. Dupont")
    assert "Dupont" not in show.cell(refused).text
    assert show.cell(Sentence(Code.TEXT, text="stocktaking")).text == "stocktaking", "an operator's own"
