"""What a CSV or fixed-width file of answers says, as its template describes it.

Rows of one order belong together, wherever in the file they stand. A row without a line decides the whole order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from uuid import UUID

from workers.erp.files.names import id_in
from workers.erp.files.tables.template import AnswerTemplate, Column
from workers.erp.files.verdicts import AnswerDecision, AnsweredLine, AnswerSaid, UnfinishedFile, UnreadableAnswer

Row = Mapping[str, str]


def read_table(data: bytes, template: AnswerTemplate) -> list[AnswerSaid]:
    """The answers in a file. Raises UnreadableAnswer, and UnfinishedFile where its last row has no end."""
    try:
        text = data.decode(template.encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UnreadableAnswer(f"byte {error.start + 1} is none of {template.encoding}") from None
    text = text.rstrip("\x1a\0")
    if not text.strip() or not text.endswith(("\n", "\r")):
        raise UnfinishedFile("the last row has no end")
    if "\0" in text:
        raise UnreadableAnswer("there is a zero byte in the file")
    found: dict[UUID, list[tuple[int, Row]]] = {}
    for number, row in _rows(text, template):
        order = id_in(row["order"])
        if order is None:
            raise UnreadableAnswer(f"row {number} is for order {row['order'][:40]!r}, which is no number that we give")
        found.setdefault(order, []).append((number, row))
    return [_verdict(order, rows, template) for order, rows in found.items()]


def _rows(text: str, template: AnswerTemplate) -> Iterator[tuple[int, Row]]:
    """The rows that are not empty, by what their columns hold, counted from 1 with the header."""
    columns = template.columns()
    if template.format == "fixed":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip() and not (template.header and number == 1):
                yield number, {name: _cut(line, column) for name, column in columns.items()}
        return
    try:
        rows = [*csv.reader(io.StringIO(text, newline=""), delimiter=template.separator, strict=True)]
    except csv.Error as error:
        raise UnreadableAnswer(f"the file is no CSV: {error}") from None
    head = [each.strip() for each in rows[0]] if template.header else []
    places = {name: _place(name, column, head) for name, column in columns.items()}
    for number, row in enumerate(rows[len(head) > 0 :], 1 + (len(head) > 0)):
        if not any(each.strip() for each in row):
            continue
        if max(places.values()) >= len(row):
            raise UnreadableAnswer(
                f"row {number} has {len(row)} fields, and field {max(places.values()) + 1} is to be read"
            )
        yield number, {name: row[place].strip() for name, place in places.items()}


def _place(name: str, column: Column, head: list[str]) -> int:
    if isinstance(column, int):
        return column - 1
    if column not in head:
        raise UnreadableAnswer(f"the header has no field {column}, which is the {name}")
    return head.index(str(column))


def _cut(line: str, column: Column) -> str:
    assert isinstance(column, tuple)
    return line[column[0] - 1 : column[1]].strip()


def _verdict(order: UUID, rows: list[tuple[int, Row]], template: AnswerTemplate) -> AnswerSaid:
    whole = [(number, row) for number, row in rows if not row.get("line")]
    reference = next((row["reference"] for _, row in rows if row.get("reference")), "")
    if len(whole) > 1:
        raise UnreadableAnswer(f"rows {whole[0][0]} and {whole[1][0]} both decide the whole of order {order}")
    decision, reason = AnswerDecision.ACCEPTED, ""
    if whole:
        decision, reason = _decision(*whole[0], template), whole[0][1].get("reason", "")
    lines = [(number, row) for number, row in rows if row.get("line")]
    if decision is not AnswerDecision.ACCEPTED:
        return AnswerSaid(order, decision, reference=reference, reason=reason)
    told = tuple(_line(number, row, template) for number, row in lines)
    return AnswerSaid(order, decision, reference=reference, reason=reason, lines=told, rest_accepted=bool(whole))


def _decision(number: int, row: Row, template: AnswerTemplate) -> AnswerDecision:
    said = row.get("status", "")
    for decision, words in (
        (AnswerDecision.ACCEPTED, template.accepted),
        (AnswerDecision.REFUSED, template.refused),
        (AnswerDecision.RECEIVED, template.received),
    ):
        if said in words:
            return decision
    raise UnreadableAnswer(f"row {number} has the status {said[:40]!r}, which means nothing by the template")


def _line(number: int, row: Row, template: AnswerTemplate) -> AnsweredLine:
    if not (row["line"].isascii() and row["line"].isdigit()):
        raise UnreadableAnswer(f"row {number} has the line {row['line'][:20]!r}")
    refused = template.status is not None and _decision(number, row, template) is AnswerDecision.REFUSED
    accepted = _boxes(number, row["quantity"], template) if row.get("quantity") else None
    later = _boxes(number, row["back_ordered"], template) if row.get("back_ordered") else 0
    return AnsweredLine(
        int(row["line"]),
        tuple(filter(None, [row.get("product", "")])),
        0 if refused else accepted,
        later,
        _day(number, row["expected"], template) if row.get("expected") else None,
        row.get("substitute") or None,
        row.get("reason") or None,
    )


def _boxes(number: int, value: str, template: AnswerTemplate) -> int:
    with suppress(InvalidOperation):
        count = Decimal(value.replace(template.decimal, "."))
        if count == count.to_integral_value() and 0 <= count <= 10**7:
            return int(count)
    raise UnreadableAnswer(f"row {number}: {value[:20]!r} is no number of boxes")


def _day(number: int, value: str, template: AnswerTemplate) -> date:
    try:
        return datetime.strptime(value, template.date).date()
    except ValueError:
        raise UnreadableAnswer(f"row {number}: {value[:20]!r} is no date as {template.date}") from None
