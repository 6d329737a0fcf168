"""A CSV file of what an ERP calls products or pharmacies, read whole, with every fault that it has.

UTF-8, with a byte order mark or without, commas or semicolons; its header says of which kind it is, in English or
French. A row is one line.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orders.errors import RelaisError
from orders.identifiers import CUSTOMER_CODE, product
from orders.sentences import count
from orders.states import CodeKind
from workers.cli.files import rows
from workers.cli.files.rows import field_of
from workers.mapping.current_mapping import Target
from workers.mapping.importing import NewTargets

NAMES: Final[Mapping[str, tuple[str, ...]]] = {  # of each field, the headings that mean it
    "product": rows.NAMES["product"],
    "article": ("article", "article erp", "erp article", "code article", "numero d'article", "item"),
    "pharmacy": rows.NAMES["pharmacy"],
    "customer": ("customer", "client", "customer number", "numero client", "numero de client", "code client"),
    "price_list": ("price list", "pricelist", "tarif", "grille tarifaire", "liste de prix"),
    "warehouse": ("warehouse", "depot", "entrepot"),
}
COLUMNS: Final = {  # of each kind the columns that it needs, and those that it may have
    CodeKind.PRODUCT: (("product", "article"), ()),
    CodeKind.PHARMACY: (("pharmacy", "customer"), ("price_list", "warehouse")),
}
HEADERS: Final = "product,article or pharmacy,customer[,price_list][,warehouse]"
MOST_FAULTS: Final = 100  # that are told; one more says that there are more
MOST_LINES: Final = 500_000  # all of France's medicines are 21,000
LONGEST_LINE: Final = 4_096  # bytes
MOST_CHARACTERS: Final = 64  # of what an ERP calls something


@dataclass(frozen=True, slots=True)
class FileFault:
    """What is wrong: the line from 1, the field or an empty text, and why."""

    line: int
    field: str
    why: str

    def __str__(self) -> str:
        return ", ".join(filter(None, (f"line {self.line}", self.field))) + f": {self.why}"


class BadMappingFile(RelaisError):
    """A file of which nothing is imported: its first MOST_FAULTS faults, and whether there are `more`."""

    def __init__(self, path: Path, faults: Sequence[FileFault]) -> None:
        self.faults, self.more = tuple(faults[:MOST_FAULTS]), len(faults) > MOST_FAULTS
        least = "more than " if self.more else ""
        super().__init__(f"{path}: nothing was imported: {least}{count(len(self.faults), 'fault')}")


@dataclass(slots=True)
class _Reading:
    """A file as far as it is read. `first` has of each code the line on which it stands first."""

    faults: list[FileFault] = field(default_factory=list)
    targets: dict[str, Target] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        return len(self.faults) > MOST_FAULTS


def read_mapping_file(path: Path) -> tuple[NewTargets, list[str]]:
    """What the file says, and which of its columns are not used. Raises BadMappingFile, and OSError."""
    reading, digest = _Reading(), hashlib.sha256()
    lines = _lines(path, reading, digest)
    number, heading = next(lines, (1, ""))
    delimiter = ";" if heading.count(";") > heading.count(",") else ","
    names = _cells(heading, delimiter, number, reading) or []
    kind, columns = _header(names, reading)
    if kind is not None:
        for number, line in lines:
            if (cells := _cells(line, delimiter, number, reading)) is not None:
                _take(kind, columns, cells, number, reading)
            if reading.full:
                break
        if not (reading.targets or reading.faults):
            reading.faults.append(FileFault(number, "", "it has no rows"))
    if kind is None or reading.faults:
        raise BadMappingFile(path, reading.faults)
    unused = [name.strip() for name, column in zip(names, columns, strict=True) if column is None and name.strip()]
    return NewTargets(kind, reading.targets, digest.hexdigest()), unused


def _lines(path: Path, reading: _Reading, digest: hashlib._Hash) -> Iterator[tuple[int, str]]:
    """Each line that is not blank with its number; of one that cannot be read, why."""
    with path.open("rb") as file:
        for number in range(1, MOST_LINES + 2):
            raw = file.readline(LONGEST_LINE + 1)
            if not raw:
                return
            digest.update(raw)
            if len(raw) > LONGEST_LINE or number > MOST_LINES:
                why = f"longer than {LONGEST_LINE} bytes" if number <= MOST_LINES else f"more than {MOST_LINES} lines"
                reading.faults.append(FileFault(number, "", why))
                return
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                reading.faults.append(FileFault(number, "", "not UTF-8: save the file as CSV in UTF-8"))
                if number == 1:
                    return
                continue
            if line.strip():
                yield number, line


def _cells(line: str, delimiter: str, number: int, reading: _Reading) -> list[str] | None:
    try:
        (cells,) = csv.reader([line], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        reading.faults.append(FileFault(number, "", "a quotation mark is missing, or one too many"))
        return None
    return [cell.strip() for cell in cells]


def _header(names: list[str], reading: _Reading) -> tuple[CodeKind | None, list[str | None]]:
    """Of which kind the file is, and what stands in which column."""
    columns = [field_of(name, NAMES) for name in names]
    kinds = [kind for kind, (needed, _) in COLUMNS.items() if {*needed} <= {*columns}]
    if len(kinds) != 1:
        if not reading.faults:
            reading.faults.append(FileFault(1, "", f"its header is none of a mapping's, which is {HEADERS}"))
        return None, columns
    needed, other = COLUMNS[kinds[0]]
    wanted = [column if column in needed + other else None for column in columns]
    twice = sorted({column for column in wanted if column and wanted.count(column) > 1})
    reading.faults += [FileFault(1, column, "there are two columns for it") for column in twice]
    return (None if twice else kinds[0]), wanted


def _take(kind: CodeKind, columns: Sequence[str | None], cells: Sequence[str], number: int, reading: _Reading) -> None:
    """One row: its code with what the ERP calls it, or its faults."""
    if len(cells) != len(columns):
        reading.faults.append(FileFault(number, "", f"{len(cells)} columns, and the header has {len(columns)}"))
        return
    values = {name: cell for name, cell in zip(columns, cells, strict=True) if name}
    (of_code, of_target), _ = COLUMNS[kind]
    faults = [
        FileFault(number, name, why)
        for name, value in values.items()
        if name != of_code and (why := _unfit(value, name == of_target))
    ]
    try:
        code = _code(kind, values[of_code])
        if (first := reading.first.setdefault(code, number)) != number:
            faults.append(FileFault(number, of_code, f"{code} stands on line {first} already"))
    except ValueError as error:
        faults.append(FileFault(number, of_code, str(error)))
    if faults:
        reading.faults += faults
    else:
        target = values[of_target], values.get("price_list") or None, values.get("warehouse") or None
        reading.targets[code] = target


def _code(kind: CodeKind, given: str) -> str:
    if kind is CodeKind.PRODUCT:
        return product(given)
    if not re.fullmatch(CUSTOMER_CODE, given):
        raise ValueError("must be 1 to 32 of A-Z, a-z, 0-9, dot, dash and underscore")
    return given


def _unfit(value: str, needed: bool) -> str:
    """Why an ERP calls nothing so; an empty text where it may."""
    if not value:
        return "is empty" if needed else ""
    if len(value) > MOST_CHARACTERS:
        return f"must be at most {MOST_CHARACTERS} characters"
    return "" if value.isprintable() else "must not hold control characters"
