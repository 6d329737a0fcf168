"""The simulator's file is all that it remembers."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from workers.erp.sim.book import Book, Effect, read_effects, stamp

START = datetime(2024, 10, 19, 12, tzinfo=UTC)


def effect(number: int) -> Effect:
    return {
        "id": f"00000000-0000-0000-0000-{number:012d}",
        "digest": "0" * 64,
        "received_at": stamp(START + timedelta(seconds=number)),
        "reference": f"SIM-{number}",
        "pharmacy": "990000002",
        "order_reference": f"é-{number}",
        "lines": [],
    }


def filled(file: Path, count: int = 10) -> Book:
    book = Book(file)
    for number in range(count):
        book.add(effect(number))
    return book


def test_what_was_added_is_there_after_a_restart(tmp_path: Path) -> None:
    book = filled(tmp_path / "erp.jsonl")
    book.repeat(effect(3)["id"])
    book.close()
    again = Book(tmp_path / "erp.jsonl")
    assert again.ids == [effect(number)["id"] for number in range(10)]
    assert again.find(effect(7)["id"]) == effect(7)
    assert again.find("unknown") is None
    assert again.repeats == 1
    assert list(read_effects(tmp_path / "erp.jsonl")) == [effect(number) for number in range(10)]
    again.close()


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "erp.jsonl"
    filled(file, 3).close()
    with file.open("ab") as out:
        out.write(json.dumps(effect(3)).encode()[:40])
    book = Book(file)
    book.add(effect(4))
    assert [found["id"] for found in read_effects(file)] == [effect(number)["id"] for number in (0, 1, 2, 4)]
    assert book.find(effect(4)["id"]) == effect(4)
    book.close()


@pytest.mark.parametrize(
    ("wanted", "kept"), [({"since": START + timedelta(seconds=6)}, 6), ({"last": 0.3}, 7), ({"last": 1.0}, 0)]
)
def test_forgetting_is_a_restore_from_backup(tmp_path: Path, wanted: dict[str, datetime], kept: int) -> None:
    book = filled(tmp_path / "erp.jsonl")
    lost = book.forget(**wanted)  # type: ignore[arg-type]
    assert lost == [effect(number)["id"] for number in range(kept, 10)]
    assert len(list(read_effects(tmp_path / "erp.jsonl"))) == kept
    assert book.find(effect(9)["id"]) is None
    book.add(effect(9))
    assert book.find(effect(9)["id"]) == effect(9)
    assert len((tmp_path / "erp.jsonl.forgotten").read_bytes().splitlines()) == 10 - kept
    book.close()


def test_the_same_order_twice_is_two_effects_and_the_first_is_found(tmp_path: Path) -> None:
    book = filled(tmp_path / "erp.jsonl", 2)
    book.add({**effect(0), "reference": "second"})
    assert book.find(effect(0)["id"]) == effect(0)
    book.forget(last=0.34)
    assert book.find(effect(0)["id"]) == effect(0)
    book.close()


def test_what_is_falsified_is_told_and_nothing_else_moves(tmp_path: Path) -> None:
    book = filled(tmp_path / "erp.jsonl")
    for number, reference in ((3, "a longer reference than it had"), (0, "x"), (9, "")):
        book.alter(effect(number)["id"], {"reference": reference})
    told = {**{n: f"SIM-{n}" for n in range(10)}, 3: "a longer reference than it had", 0: "x", 9: ""}
    assert [book.find(effect(n)["id"])["reference"] for n in range(10)] == list(told.values())  # type: ignore[index]
    book.add(effect(10))
    assert [found["reference"] for found in read_effects(tmp_path / "erp.jsonl")] == [*told.values(), "SIM-10"]
    with pytest.raises(KeyError):
        book.alter("unknown", {})
    book.close()


@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_a_span_of_time_is_listed_page_by_page(tmp_path: Path, limit: int) -> None:
    book = filled(tmp_path / "erp.jsonl")
    since, until = START + timedelta(seconds=2), START + timedelta(seconds=8)
    pages, after = [], None
    while not pages or after is not None:
        found, after = book.listed(since, until, after, limit)
        pages.append([one["id"] for one in found])
    assert [order_id for page in pages for order_id in page] == [effect(n)["id"] for n in range(2, 8)]
    assert max(map(len, pages)) <= limit
    assert len(pages) == -(-6 // limit)
    book.close()


def test_one_process_at_a_time_holds_the_file(tmp_path: Path) -> None:
    book = filled(tmp_path / "erp.jsonl", 1)
    with pytest.raises(BlockingIOError):
        Book(tmp_path / "erp.jsonl")
    book.close()
