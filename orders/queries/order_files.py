"""Orders of a list as lines of a file: NDJSON, or CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from orders.queries.order_list import COLUMNS, Row

# What a spreadsheet takes for a formula (OWASP, CSV injection): such a cell gets an apostrophe before it.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_head() -> str:
    """The first line of a CSV file."""
    return _csv([COLUMNS])


def csv_lines(rows: Iterable[Row]) -> str:
    """A line for each order, in the order of COLUMNS (RFC 4180)."""
    return _csv([_safe(_plain(row[name])) for name in COLUMNS] for row in rows)


def ndjson_lines(rows: Iterable[Row]) -> str:
    """A line for each order."""
    return "".join(json.dumps({name: _plain(row[name]) for name in COLUMNS}, ensure_ascii=False) + "\n" for row in rows)


Lines = Callable[[Iterable[Row]], str]
FORMATS: Final[Mapping[str, tuple[Callable[[], str], Lines]]] = {
    "csv": (csv_head, csv_lines),
    "ndjson": (str, ndjson_lines),
}  # what a file begins with, and its lines


def _csv(lines: Iterable[Sequence[Any]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(lines)
    return written.getvalue()


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value if value is None or isinstance(value, int) else str(value)
