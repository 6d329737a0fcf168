import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orders
from orders.identifiers import Family, family, is_finess, looks_like_finess, product

MEDICINES = Path(orders.__file__).parent / "data" / "medicines.csv"
ROWS = list(csv.DictReader(MEDICINES.read_text(encoding="utf-8").splitlines()))
# fmt: off
CORSICAN = [
    "2A0000014", "2A0000170", "2A0000386", "2A0002606", "2A0000261", "2A0002051",
    "2B0000020", "2B0005342", "2B0004246", "2B0000442", "2B0003107", "2B0003057",
    "2B0004238", "2B0000939", "2B0003628", "2B0003073", "2B0000459", "2B0001341",
]
# fmt: on
MAINLAND = ["750712184", "590780193", "690781810"]


def test_every_real_cip7_becomes_its_cip13() -> None:
    assert len(ROWS) == 2000
    assert [product(row["cip7"]) for row in ROWS] == [row["cip13"] for row in ROWS]


def test_every_real_cip13_stays_as_it_is() -> None:
    assert all(product(row["cip13"]) == row["cip13"] for row in ROWS)
    assert {family(row["cip13"]) for row in ROWS} == {Family.CIP13}


@pytest.mark.parametrize(
    ("code", "name"),
    [("3400937318044", Family.CIP13), ("3400890000017", Family.UCD13), ("3401097617718", Family.ACL13)],
)
def test_families(code: str, name: Family) -> None:
    assert family(code) is name
    assert product(code) == code


@given(st.sampled_from(ROWS), st.integers(5, 12), st.integers(1, 9))
def test_one_wrong_digit_is_always_found(row: dict[str, str], place: int, by: int) -> None:
    code = row["cip13"]
    wrong = code[:place] + str((int(code[place]) + by) % 10) + code[place + 1 :]
    with pytest.raises(ValueError, match="check digit is wrong"):
        product(wrong)


@given(st.integers(0, 9_999_999))
def test_no_cip7_is_refused_for_its_key(number: int) -> None:
    code = f"{number:07d}"
    whole = product(code)
    assert family(whole) is Family.CIP13
    assert whole[5:12] == code
    assert product(whole) == whole


@pytest.mark.parametrize("code", ["3282770000000", "4006381333931", "3402000000000", "0000000000000"])
def test_another_prefix_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="must begin with 3400"):
        product(code)


# fmt: off
NO_CODES = [
    "", "3", "373180", "37318044", "340093731804", "34009373180440", "340093731804X", "3400937318044\n",
    " 3400937318044", "3400-9373-18044", "373180\uff14", "\uff13400937318044", "3.40094E+12",
]
# fmt: on


@pytest.mark.parametrize("code", NO_CODES)
def test_anything_but_7_or_13_plain_digits_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="must be 13 digits"):
        product(code)


@pytest.mark.parametrize("code", CORSICAN + MAINLAND)
def test_real_finess_numbers(code: str) -> None:
    """Hospitals named with their numbers in the official gazettes of the two Corsican prefectures, and others."""
    assert is_finess(code)


@given(st.sampled_from(CORSICAN + MAINLAND), st.integers(2, 8), st.integers(1, 9))
def test_a_finess_number_with_a_wrong_digit_only_looks_like_one(code: str, place: int, by: int) -> None:
    wrong = code[:place] + str((int(code[place]) + by) % 10) + code[place + 1 :]
    assert looks_like_finess(wrong)
    assert not is_finess(wrong)


@pytest.mark.parametrize(
    "code", ["", "75071218", "7507121840", "2C0000014", "2a0000014", "A20000014", "75071218\uff14"]
)
def test_other_shapes_are_no_finess_number(code: str) -> None:
    assert not looks_like_finess(code)
    assert not is_finess(code)
