"""Rows of a CSV as orders: the rows of one order stand together, one for each product.

Columns are known by their headings, in English or French. A row that cannot be read costs the orders on both sides of
it, for nobody knows to which of them it belongs: no order goes with a line less than was meant.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final

from orders.model import MOST_LINES
from workers.cli.files.lines import FileLine, Unusable

NAMES: Final[Mapping[str, tuple[str, ...]]] = {  # of each field, the headings that mean it
    "pharmacy": ("pharmacy", "pharmacie", "officine", "finess"),
    "reference": ("reference", "ref", "order", "commande", "numero"),
    "product": ("product", "produit", "cip", "cip13", "cip7", "acl", "acl13", "code produit"),
    "quantity": ("quantity", "quantite", "qty", "qte", "boites"),
    "priority": ("priority", "priorite"),
    "cut_off": ("cut off", "cutoff", "heure limite"),
    "valid_until": ("valid until", "valable jusqu'au", "valide jusqu'au"),
    "note": ("note", "comment", "commentaire"),
}
NEEDED: Final = ("pharmacy", "reference", "product", "quantity")
OF_A_LINE: Final = ("product", "quantity")
DELIMITERS: Final = ";,\t|"
LONGEST: Final = 10_000  # characters of a header


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in which column: its delimiter, for each column the field, None where it is not used."""

    delimiter: str
    columns: tuple[str | None, ...]
    told: str  # which heading was taken for what


@dataclass(slots=True)
class _Rows:
    """The rows of one order so far."""

    number: int
    key: tuple[str, str]
    size: int = 0
    order: dict[str, str] = field(default_factory=dict)
    lines: list[dict[str, object]] = field(default_factory=list)
    fault: str = ""

    def as_line(self) -> FileLine:
        if self.fault:
            return FileLine(self.number, self.size, None, self.fault)
        document = {**self.order, "lines": self.lines}
        return FileLine(self.number, self.size, json.dumps(document, ensure_ascii=False).encode())

    def add(self, number: int, size: int, values: Mapping[str, str]) -> None:
        """One more row of it."""
        self.size += size
        for name, value in values.items():
            if name not in OF_A_LINE and value and self.order.setdefault(name, value) != value:
                self.fault = self.fault or f"its rows do not agree on its {name} (line {number})"
        if len(self.lines) == MOST_LINES:
            self.fault = self.fault or f"more than {MOST_LINES:,} rows"
            return
        boxes = values["quantity"]
        self.lines.append({"product": values["product"], "quantity": int(boxes) if boxes.isdecimal() else boxes})


def header_of(first: bytes, second: bytes) -> Header | None:
    """The header of a CSV, None where this is none. Raises Unusable where a column is missing."""
    heading, row = text_of(first), text_of(second)
    delimiter = max(DELIMITERS, key=heading.count)
    many = heading.count(delimiter)
    if len(heading) > LONGEST or not many:
        return None
    try:
        (names,) = csv.reader([heading], delimiter=delimiter)
    except (csv.Error, ValueError):
        return None
    columns = tuple(field_of(name, NAMES) for name in names)
    alike = row.count(delimiter) >= many and not row.startswith("{")
    if not (any(columns) or alike):
        return None
    missing = [name for name in NEEDED if name not in columns]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if missing or twice:
        what = f"no column for {', '.join(missing)}" if missing else f"two columns for {', '.join(twice)}"
        raise Unusable(f"CSV whose first line has {what}: it needs {', '.join(NEEDED)}, and may have {_others()}")
    return Header(delimiter, columns, _told(names, columns))


def _told(names: list[str], columns: tuple[str | None, ...]) -> str:
    """Which headings were taken for what, and which are not used."""
    pairs = [(name.strip(), column) for name, column in zip(names, columns, strict=True)]
    other = ", ".join(f"{name} as {column}" for name, column in pairs if column and name != column)
    unused = ", ".join(name for name, column in pairs if name and not column)
    return "; ".join([other or "by its header", *([f"not used: {unused}"] if unused else [])])


def beginnings(lines: Iterable[list[FileLine]], header: Header) -> Iterator[tuple[int, tuple[str, str]]]:
    """Where the rows of an order begin, and whose they are; once for each place where it does."""
    now = None
    for line in islice(chain.from_iterable(lines), 1, None):  # without the header
        values = _values(line, header)
        if isinstance(values, dict) and (key := (values["pharmacy"], values["reference"])) != now:
            now = key
            yield line.number, key


def orders_of_rows(
    lines: Iterable[list[FileLine]], header: Header, apart: Mapping[tuple[str, str], str]
) -> Iterator[list[FileLine]]:
    """The orders that rows make, once all rows of each are there; why those `apart` are none."""
    now: _Rows | None = None
    doubt, seen = "", False
    for batch in lines:
        done = []
        for line in batch:
            if not seen:
                seen = True  # the header
                continue
            values = _values(line, header)
            if isinstance(values, str):
                doubt = f"line {line.number} cannot be read, and may be a part of it: {values}"
                now = now or _Rows(line.number, ("", ""))
                now.fault, now.size = now.fault or doubt, now.size + line.size
                continue
            key = values["pharmacy"], values["reference"]
            if now is None or now.key != key:
                done += [now.as_line()] if now else []
                now = _Rows(line.number, key, fault=doubt or apart.get(key, ""))
            doubt = ""
            now.add(line.number, line.size, values)
        yield done
    if now is not None:
        yield [now.as_line()]


def text_of(line: bytes) -> str:
    """A line as text: UTF-8, else as Excel saves it in Western Europe."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace")


def _values(line: FileLine, header: Header) -> dict[str, str] | str:
    """The fields of a row, or why it has none."""
    if line.text is None:
        return line.fault
    try:
        (cells,) = csv.reader([text_of(line.text)], delimiter=header.delimiter, strict=True)
    except (csv.Error, ValueError):
        return "a quotation mark is missing"
    if any(cells[len(header.columns) :]) or len(cells) < len(header.columns):
        return f"{len(cells)} columns, and the header has {len(header.columns)}"
    values = {name: cell.strip() for name, cell in zip(header.columns, cells, strict=False) if name}
    return values if values["pharmacy"] and values["reference"] else "it names no pharmacy or no reference"


def field_of(heading: str, names: Mapping[str, tuple[str, ...]]) -> str | None:
    """The field that a heading means, in English or French; None where it is none of them."""
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode().casefold()
    plain = re.sub(r"[\s_-]+", " ", plain).strip()
    return next((name for name, known in names.items() if plain in known), None)


def _others() -> str:
    return ", ".join(name for name in NAMES if name not in NEEDED)
