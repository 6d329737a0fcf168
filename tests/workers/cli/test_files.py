"""Files of orders as people have them: what is taken, what is told once, and what a CSV's rows become."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workers.cli.files import apart
from workers.cli.files.formats import OrdersFile
from workers.cli.files.lines import FileLine, Unusable

ORDER = '{"pharmacy":"P1","reference":"R1","lines":[{"product":"3400937318044","quantity":2}]}'
SHEET = """Pharmacie;Commande;CIP13;Quantité;Priorité;Prix
P1;R1;3400937318044;2;urgent;1,50
P1;R1;3861547;1;;
P1;R2;3400937318044;"3";normal;
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orders"


def read(file: Path) -> tuple[list[FileLine], OrdersFile]:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        found = OrdersFile(descriptor)
        return [line for lines in found for line in lines], found
    finally:
        os.close(descriptor)


def documents(lines: list[FileLine]) -> Iterator[object]:
    return (json.loads(line.text) if line.text is not None else line.fault for line in lines)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda text: gzip.compress(text[:9]) + gzip.compress(text[9:])])
def test_a_byte_order_mark_and_gzip_are_taken(file: Path, mark: bytes, pack: object) -> None:
    file.write_bytes(pack(mark + f"{ORDER}\r\nnonsense, it is\n{ORDER}".encode()))  # type: ignore[operator]
    lines, found = read(file)
    assert [(line.number, line.text) for line in lines] == [
        (1, ORDER.encode()),
        (2, b"nonsense, it is"),
        (3, ORDER.encode()),
    ]
    assert found.read == file.stat().st_size
    assert found.taken_as == ([] if pack is bytes else ["gzip"])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (f"{ORDER}\n".encode("utf-16"), "UTF-16 text"),
        (f"{ORDER}\n".encode("utf-16-be"), "UTF-16 text"),
        (SHEET.encode("utf-16-le"), "UTF-16 text"),
        (b"PK\x03\x04and more", "a workbook"),
        (b'<?xml version="1.0"?>\n<order/>', "XML"),
        (f"[{ORDER},\n{ORDER}]".encode(), "one JSON array"),
        (json.dumps(json.loads(ORDER), indent=2).encode(), "JSON over several lines"),
        (b"pharmacy,reference,product\nP1,R1,3400937318044\n", "has no column for quantity"),
        (b"a;b;c\n1;2;3\n", "has no column for pharmacy, reference, product, quantity"),
        (b"pharmacy;ref;commande;cip;qte\nP1;R1;R1;1;1", "has two columns for reference"),
    ],
)
def test_what_is_no_file_of_orders_is_told_once_with_what_to_do(file: Path, content: bytes, what: str) -> None:
    for packed in (content, gzip.compress(content)):
        file.write_bytes(packed)
        with pytest.raises(Unusable, match=what):
            read(file)


def test_one_line_that_is_none_costs_no_other_even_where_it_comes_first(file: Path) -> None:
    for first in ("nonsense", "abc, def", '{"pharmacy": 1', "null"):
        file.write_text(f"{first}\n{ORDER}\n{ORDER}\n")
        assert [line.text for line in read(file)[0]] == [first.encode(), ORDER.encode(), ORDER.encode()]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_rows_of_a_csv_become_orders(file: Path, encoding: str) -> None:
    file.write_bytes(SHEET.encode(encoding))
    lines, found = read(file)
    assert [*documents(lines)] == [
        {
            "pharmacy": "P1",
            "reference": "R1",
            "priority": "urgent",
            "lines": [{"product": "3400937318044", "quantity": 2}, {"product": "3861547", "quantity": 1}],
        },
        {
            "pharmacy": "P1",
            "reference": "R2",
            "priority": "normal",
            "lines": [{"product": "3400937318044", "quantity": 3}],
        },
    ]
    assert [line.number for line in lines] == [2, 4]
    [told] = found.taken_as
    assert told.startswith("CSV, Pharmacie as pharmacy, Commande as reference, CIP13 as product, Quantité as quantity")
    assert told.endswith("; not used: Prix")


def test_no_order_of_a_csv_goes_with_a_line_less_than_was_meant(file: Path) -> None:
    head = "pharmacy,reference,product,quantity,note\n"
    file.write_text(head + 'A,1,p,1,\nB,1,p,1,\nB,1,q\nC,1,p,1,\nD,1,p,1,\nD,1,"q,1,\nD,1,r,1,\nE,1,p,1,x\nE,1,q,1,y\n')
    first, *others = documents(read(file)[0])
    assert first == {"pharmacy": "A", "reference": "1", "lines": [{"product": "p", "quantity": 1}]}
    assert others == [
        "line 4 cannot be read, and may be a part of it: 3 columns, and the header has 5",
        "line 4 cannot be read, and may be a part of it: 3 columns, and the header has 5",
        "line 7 cannot be read, and may be a part of it: a quotation mark is missing",
        "its rows do not agree on its note (line 10)",
    ]


@pytest.mark.parametrize("places", [2**26, 1], ids=["apart", "all in one place"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_nothing_goes_of_an_order_whose_rows_do_not_stand_together(
    file: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes], places: int
) -> None:
    monkeypatch.setattr(apart, "PLACES", max(8, places))
    many = "".join(f"C,{number},p,1\n" for number in range(30_000))  # more than one piece of the file
    rows = f"pharmacy,reference,product,quantity\nA,1,p,1\nB,1,p,1\n{many}A,1,q,1\nB,2,p,1\n"
    file.write_bytes(pack(rows.encode()))
    first, *others, last, end = documents(read(file)[0])
    told = "its rows do not stand together (lines 2 and 30004): sort the file by pharmacy and reference"
    assert (first, last) == (told, told)
    assert [each["reference"] for each in (others[0], others[-1], end)] == ["1", "29999", "2"]
    assert len(others) == 30_001


def test_a_packed_file_that_is_cut_off_is_no_file(file: Path) -> None:
    file.write_bytes(gzip.compress(SHEET.encode() * 50)[:-9])
    with pytest.raises(OSError, match="the gzip data is damaged or cut off"):
        read(file)


def test_what_is_packed_is_unpacked_in_pieces(file: Path) -> None:
    file.write_bytes(gzip.compress(b"x" * 80_000_000 + f"\n{ORDER}\n".encode()))
    lines, found = read(file)
    assert [(line.number, line.text, line.fault) for line in lines] == [
        (1, None, "longer than 2097152 bytes"),
        (2, ORDER.encode(), ""),
    ]
    assert found.text > 500 * found.read
