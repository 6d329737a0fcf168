"""The wholesaler's two lists, each a CSV file: the products it sells (catalogue) and the pharmacies it serves.

Without a list nothing is checked against it; with one, an order for what is not on it becomes a dead letter. So
a list is taken whole or not at all: one bad row, and `BadList` names the file, the line and the field.
Commas or semicolons, UTF-8 with or without a byte order mark, further columns, any order of columns.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import chain
from pathlib import Path

from config.settings.routes_file import CLASSES
from orders.errors import RelaisError
from orders.identifiers import CUSTOMER_CODE, product
from orders.model import Order

LONGEST_LINE = 65_536  # bytes
MOST_LINES = 500_000  # all of France's medicines are 21,000

_FLAGS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}
_LIMIT = re.compile(r"[1-9][0-9]{0,4}|")
_REGION = re.compile(r"[0-9A-Z ._-]{0,32}")


class BadList(RelaisError):
    """A catalogue or register that cannot be used: `path`, line (0: the file as a whole), field and why."""

    def __init__(self, path: Path, line: int, field: str, why: str) -> None:
        super().__init__(f"{path}, line {line}, {field}: {why}" if line else f"{path}: {why}")
        self.path, self.line, self.field = path, line, field


class NoList(RelaisError):
    """A route or the policy for stale orders asks for classes of products, and there is no catalogue."""


@dataclass(frozen=True, slots=True)
class Product:
    """One row of a catalogue; `max_quantity` is in boxes per order, None without a limit; `classes` of CLASSES."""

    cip13: str
    label: str
    withdrawn: bool = False
    max_quantity: int | None = None
    classes: frozenset[str] = frozenset()


Catalogue = Mapping[str, Product]
Register = frozenset[str]


def load_catalogue(path: Path) -> Catalogue:
    """Products by CIP13, from the columns cip13, label, withdrawn (0 or 1), max_quantity (empty: no limit), and where
    they are there cold_chain, narcotic, quota (0 or 1).

    Raises BadList.
    """
    products: dict[str, Product] = {}
    for line, row in rows_of(path, "cip13", "label", "withdrawn", "max_quantity", optional=CLASSES):
        entry = _product(path, line, *row)
        if entry.cip13 in products:
            raise BadList(path, line, "cip13", f"{entry.cip13} is listed twice")
        products[entry.cip13] = entry
    return products


def load_register(path: Path) -> Register:
    """Pharmacies as orders name them, FINESS number or customer code, from the column pharmacy.

    Raises BadList.
    """
    return frozenset(code for code, _ in _pharmacies(path))


def load_regions(path: Path) -> Mapping[str, str]:
    """The region of each pharmacy of the register that has one there, from its column region, in capital letters.

    Raises BadList.
    """
    return {code: region for code, region in _pharmacies(path) if region}


def _pharmacies(path: Path) -> Iterator[tuple[str, str]]:
    for line, (code, region) in rows_of(path, "pharmacy", optional=("region",)):
        if not re.fullmatch(CUSTOMER_CODE, code):
            raise BadList(path, line, "pharmacy", "must be 1 to 32 of A-Z, a-z, 0-9, dot, dash and underscore")
        if not _REGION.fullmatch(region.upper()):
            raise BadList(path, line, "region", "must be up to 32 letters without accents, digits, spaces, . - and _")
        yield code, region.upper()


def classes_of(order: Order, catalogue: Catalogue) -> frozenset[str]:
    """The classes that any of the order's products is of; one that is not in the catalogue is of none."""
    known = (catalogue.get(line.product) for line in order.lines)
    return frozenset[str]().union(*(each.classes for each in known if each is not None))


def demo_catalogue() -> Catalogue:
    """The 2,000 real medicines that come with Relais; source and licence are in orders/data/README.md."""
    with as_file(files("orders").joinpath("data", "medicines.csv")) as path:
        return load_catalogue(path)


def _product(path: Path, line: int, code: str, label: str, withdrawn: str, limit: str, *flags: str) -> Product:
    try:
        cip13 = product(code)
    except ValueError as error:
        raise BadList(path, line, "cip13", str(error)) from None
    for name, flag in zip(("withdrawn", *CLASSES), (withdrawn, *flags), strict=True):
        if flag.lower() not in _FLAGS:
            raise BadList(path, line, name, "must be 0 or 1")
    if not _LIMIT.fullmatch(limit):
        raise BadList(path, line, "max_quantity", "must be from 1 to 99999, or empty for no limit")
    classes = frozenset(name for name, flag in zip(CLASSES, flags, strict=True) if _FLAGS[flag.lower()])
    return Product(cip13, label, _FLAGS[withdrawn.lower()], int(limit) if limit else None, classes)


def rows_of(path: Path, *columns: str, optional: Sequence[str] = ()) -> Iterator[tuple[int, list[str]]]:
    """Each row's line number and its fields of these columns, stripped; a list without any row is refused.

    A column that is `optional` and missing is empty in every row.
    """
    lines, empty = _lines(path), True
    header = next(lines, "")
    delimiter = ";" if header.count(";") > header.count(",") else ","
    rows = csv.reader(chain([header], lines), delimiter=delimiter, strict=True)
    try:
        names = [name.strip().lower() for name in next(rows)]
        if missing := [column for column in columns if column not in names]:
            raise BadList(path, 1, missing[0], "this column is missing")
        places = [names.index(each) if each in names else None for each in (*columns, *optional)]
        for row in filter(any, rows):
            if len(row) != len(names):
                raise BadList(path, rows.line_num, "row", f"{len(row)} fields under {len(names)} columns")
            yield rows.line_num, ["" if place is None else row[place].strip() for place in places]
            empty = False
    except csv.Error as error:
        raise BadList(path, rows.line_num, "row", str(error)) from None
    if empty:
        raise BadList(path, 0, "", "no rows")


def _lines(path: Path) -> Iterator[str]:
    """The file's lines as text, one in memory at a time."""
    number = 0
    try:
        with path.open("rb") as file:
            while raw := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(raw) > LONGEST_LINE or number > MOST_LINES:
                    raise BadList(path, number, "row", f"over {LONGEST_LINE} bytes or {MOST_LINES} lines")
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise BadList(path, number, "row", "not UTF-8") from None
    except OSError as error:
        raise BadList(path, 0, "", error.strerror or str(error)) from None
