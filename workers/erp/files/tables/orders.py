"""An order as a CSV or fixed-width file, as its template describes it.

A code that its encoding or its field cannot hold is never altered: the order is not written. Free text is cut.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from orders.model import Order
from workers.erp.files.names import names_of
from workers.erp.files.tables.template import FREE, FieldTemplate, OrderTemplate, RecordTemplate
from workers.erp.files.verdicts import Unwritable
from workers.erp.port import Mapped


def write_table(
    order_id: UUID, order: Order, mapped: Mapped | None, template: OrderTemplate, at: datetime, *, fixed: bool
) -> bytes:
    """The file of an order. Raises Unwritable."""
    rows = [
        [_value(field, values, template.encoding) for field in record.fields]
        for record in template.records
        for values in _rows(record, order_id, order, mapped, at)
    ]
    if fixed:
        fields = [record.fields for record in template.records for _ in range(_times(record, order))]
        lines = [
            "".join(_padded(value, field) for value, field in zip(row, of, strict=True))
            for row, of in zip(rows, fields, strict=True)
        ]
        text = "".join(f"{line}{template.line_end}" for line in lines)
    else:
        file = io.StringIO(newline="")
        writer = csv.writer(file, delimiter=template.separator, lineterminator=template.line_end)
        if template.header:
            writer.writerow([field.name or field.is_ for field in template.records[0].fields])
        writer.writerows(rows)
        text = file.getvalue()
    return text.encode(template.encoding)


def _times(record: RecordTemplate, order: Order) -> int:
    return 1 if record.per == "order" else len(order.lines)


def _rows(
    record: RecordTemplate, order_id: UUID, order: Order, mapped: Mapped | None, at: datetime
) -> list[Mapping[str, Any]]:
    """What the fields of a record may be, once for each row."""
    whole: dict[str, Any] = {
        **names_of(order_id),
        "reference": order.reference,
        "pharmacy": order.pharmacy,
        "customer": mapped.customer if mapped else "",
        "price_list": (mapped and mapped.price_list) or "",
        "warehouse": (mapped and mapped.warehouse) or "",
        "priority": order.priority,
        "cut_off": order.cut_off,
        "valid_until": order.valid_until,
        "note": " ".join((order.note or "").split()),
        "lines": len(order.lines),
        "date": at,
    }
    if record.per == "order":
        return [whole]
    articles = mapped.articles if mapped else ("",) * len(order.lines)
    return [
        {**whole, "line": number, "product": line.product, "article": article, "quantity": line.quantity}
        for number, (line, article) in enumerate(zip(order.lines, articles, strict=True), 1)
    ]


def _value(field: FieldTemplate, values: Mapping[str, Any], encoding: str) -> str:
    said = field.text if field.is_ == "text" else values[field.is_]
    value = said.strftime(field.format) if isinstance(said, datetime) else "" if said is None else str(said)
    free = field.is_ in FREE
    if free and not _encodes(value, encoding):
        value = value.encode(encoding, "replace").decode(encoding)
    if free and field.width is not None:
        value = value[: field.width]
    if not _encodes(value, encoding):
        raise Unwritable(f"{field.is_}, {value}, cannot be written in {encoding}")
    if field.width is not None and len(value) > field.width:
        raise Unwritable(f"{field.is_}, {value}, is longer than the {field.width} characters of its field")
    return value


def _padded(value: str, field: FieldTemplate) -> str:
    pad: Callable[[int, str], str] = value.rjust if field.align == "right" else value.ljust
    return pad(field.width or 0, field.fill)


def _encodes(value: str, encoding: str) -> bool:
    try:
        value.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
