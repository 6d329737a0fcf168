import csv
from pathlib import Path

import pytest
from stdnum import ean

import orders
from orders.rules.catalogue import LONGEST_LINE, BadList, Product, demo_catalogue, load_catalogue, load_register

HEADER = "cip13,label,withdrawn,max_quantity\n"
ATENOLOL = "3400937318044"
DATA = Path(orders.__file__).parent / "data"


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "list.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_catalogue_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + f'{ATENOLOL},"ATENOLOL 100 mg, comprimé",0,\n\n3861547,INDAPAMIDE,1,30\n,,,\n')
    assert load_catalogue(path) == {
        ATENOLOL: Product(ATENOLOL, "ATENOLOL 100 mg, comprimé", withdrawn=False, max_quantity=None),
        "3400938615470": Product("3400938615470", "INDAPAMIDE", withdrawn=True, max_quantity=30),
    }


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeff{HEADER}{ATENOLOL},A,no,5\n",
        f"{HEADER}{ATENOLOL},A,False,5",
        f"{HEADER}{ATENOLOL},A,0,5\n".replace("\n", "\r\n"),
        f"{HEADER}{ATENOLOL},A,,5\n".replace(",", ";"),
        f" CIP13 ,Label,price,WITHDRAWN,max_quantity\n {ATENOLOL} , A ,1.5, 0 , 5 \n",
        f'max_quantity,withdrawn,label,cip13\n"5","0","A","{ATENOLOL}"\n',
    ],
)
def test_other_writings_of_the_same_catalogue(tmp_path: Path, content: str) -> None:
    assert load_catalogue(written(tmp_path, content)) == {ATENOLOL: Product(ATENOLOL, "A", False, 5)}


@pytest.mark.parametrize(
    ("content", "line", "field", "why"),
    [
        (HEADER + "3400937318045,A,0,\n", 2, "cip13", "check digit"),
        (HEADER + f"{ATENOLOL},A,0,\n3.40094E+12,B,0,\n", 3, "cip13", "13 digits"),
        (HEADER + f"{ATENOLOL},A,0,\n\n3731804,A,0,\n", 4, "cip13", "listed twice"),
        (HEADER + f"{ATENOLOL},A,oui,\n", 2, "withdrawn", "0 or 1"),
        (HEADER + f"{ATENOLOL},A,0,0\n", 2, "max_quantity", "from 1 to 99999"),
        (HEADER + f"{ATENOLOL},A,0,1e3\n", 2, "max_quantity", "from 1 to 99999"),
        (HEADER + f"{ATENOLOL},A,0,\u0661\n", 2, "max_quantity", "from 1 to 99999"),
        (HEADER + f"{ATENOLOL},A,0\n", 2, "row", "3 fields under 4 columns"),
        (HEADER + f"{ATENOLOL},A, b,0,\n", 2, "row", "5 fields under 4 columns"),
        (HEADER + f'{ATENOLOL},"A"b,0,\n', 2, "row", "expected after"),
        (HEADER + f'{ATENOLOL},"A,0,\n', 2, "row", "unexpected end of data"),
        (HEADER.encode() + b"3731804,comprim\xe9,0,\n", 2, "row", "not UTF-8"),
        (HEADER + f"{ATENOLOL},{'A' * LONGEST_LINE},0,\n", 2, "row", "bytes"),
        (HEADER.replace("\n", "\r") + f"{ATENOLOL},A,0,\r", 1, "row", "new-line"),
        ("cip13,label,max_quantity\n3731804,A,\n", 1, "withdrawn", "missing"),
        ("", 1, "cip13", "missing"),
        (HEADER, 0, "", "no rows"),
        (HEADER + "\n,,,\n", 0, "", "no rows"),
    ],
)
def test_a_bad_catalogue_is_refused_by_line_and_field(
    tmp_path: Path, content: str | bytes, line: int, field: str, why: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(BadList, match=why) as caught:
        load_catalogue(path)
    assert (caught.value.path, caught.value.line, caught.value.field) == (path, line, field)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("missing", [True, False])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, missing: bool) -> None:
    path = tmp_path / "none.csv" if missing else tmp_path
    with pytest.raises(BadList, match="No such file" if missing else "directory") as caught:
        load_catalogue(path)
    assert caught.value.line == 0


def test_a_register_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, "name,pharmacy\nPharmacie du Port,2A0000014\nPharmacie de la Gare,OFF-7\n")
    assert load_register(path) == {"2A0000014", "OFF-7"}


@pytest.mark.parametrize(("row", "line"), [("OFF 7", 3), ("é", 3), ("x" * 33, 3)])
def test_a_bad_register_is_refused_by_line_and_field(tmp_path: Path, row: str, line: int) -> None:
    with pytest.raises(BadList) as caught:
        load_register(written(tmp_path, f"pharmacy\nOFF-1\n{row}\n"))
    assert (caught.value.line, caught.value.field) == (line, "pharmacy")


def test_a_catalogue_as_large_as_the_country_s(tmp_path: Path) -> None:
    stems = [f"34009{number:07d}" for number in range(3_000_000, 3_021_000)]
    rows = [f'{stem}{ean.calc_check_digit(stem)},"MEDICINE {stem}, comprimé",0,\n' for stem in stems]
    assert len(load_catalogue(written(tmp_path, HEADER + "".join(rows)))) == 21_000


def test_the_demo_s_medicines_are_those_of_the_file() -> None:
    catalogue = demo_catalogue()
    rows = list(csv.DictReader((DATA / "medicines.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["cip13"]: row["label"] for row in rows} == {code: one.label for code, one in catalogue.items()}
    assert len(catalogue) == 2000
    assert not any(one.withdrawn or one.max_quantity for one in catalogue.values())


def test_the_medicines_name_their_source_and_licence() -> None:
    told = (DATA / "README.md").read_text(encoding="utf-8")
    assert all(words in told for words in ("Base de données publique des médicaments", "July 2026", "Licence Ouverte"))
    assert (DATA / "medicines.csv").stat().st_size < 300_000
