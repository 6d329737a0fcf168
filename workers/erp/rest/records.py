"""A record of the ERP's as what became of an order, and its lines as a receipt's, read at the places that the profile
names.

Of what a line need not say, a place that finds nothing, `false` or an empty text says nothing: so that a profile can
say when a place counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID

from orders.model import EARLIEST
from workers.erp.failures import Met, Unfit, printable
from workers.erp.port import ErpReceipt, ErpReceiptLine, Kind, Listed, Outcome
from workers.erp.rest.profile import RecordPart

PARTS: Final = ("year", "month", "day", "hour", "minute", "second", "microsecond")
MOST_BOXES: Final = 99_999  # of a line, as an order's
MOST_CODE: Final = 40  # characters of a product's


class Records:
    """The records of one ERP."""

    def __init__(self, part: RecordPart) -> None:
        self._part = part

    def state(self, record: Any) -> str | None:
        """Its state, None where the profile knows none."""
        return None if self._part.state is None else str(self._part.state.of(record))

    def id_of(self, record: Any) -> UUID | None:
        """The order that it is of, None where it is of none of ours; it may be written without dashes."""
        said = self._part.order.of(record)
        try:
            return UUID(said) if isinstance(said, str) and len(said) in (32, 36) else None
        except ValueError:
            return None

    def insist(self, order: UUID, record: Any) -> None:
        """Raise Unfit where it is no record of this order."""
        found = self.id_of(record) if isinstance(record, Mapping) else None
        if found is None:
            raise Unfit(Met.UNPARSABLE, "no record with our reference where the profile says")
        if found != order:
            raise Unfit(Met.UNSENT_ORDER, "the record is of another reference")

    def of(self, records: Iterable[Any]) -> dict[UUID, list[Any]]:
        """The records of each order, those that were not refused first."""
        found: dict[UUID, list[Any]] = {}
        for record in records:
            if (order := self.id_of(record)) is not None:
                found.setdefault(order, []).append(record)
        return {order: sorted(each, key=self._is_refused) for order, each in found.items()}

    def living(self, records: Sequence[Any]) -> list[str]:
        """The ERP's own references of those that were not refused. Raises Unfit."""
        return [self.reference(each) for each in records if not self._is_refused(each)]

    def outcome(self, record: Any, kind: Kind = Kind.ACCEPTED) -> Outcome:
        """What it says of its order; `kind` where it is taken. Raises Unfit."""
        state = self.state(record)
        if state is None or state in self._part.taken:
            return Outcome(kind, "", 200, self.receipt(record))
        if self._is_refused(record):
            words = self._part.words.of(record) if self._part.words else None
            return Outcome(Kind.REFUSED, printable(str(words or f"the ERP has it as {state}")), 200)
        return Outcome(Kind.PENDING, printable(f"pending as {self.reference(record)}, {state}"), 200)

    def receipt(self, record: Any) -> ErpReceipt:
        """Its receipt. Raises Unfit."""
        lines = self._part.lines.of(record)
        if not isinstance(lines, list):
            raise Unfit(Met.UNPARSABLE, f"record.lines: no list at {self._part.lines.said}")
        told = tuple(line_of(self._part, number, line) for number, line in enumerate(lines, 1))
        return ErpReceipt(self.reference(record), None, told)

    def reference(self, record: Any) -> str:
        """The ERP's own. Raises Unfit."""
        said = self._part.reference.of(record)
        text = str(said) if isinstance(said, str | int) and not isinstance(said, bool) else ""
        if not (0 < len(text) <= 200 and text.isprintable()):
            raise Unfit(Met.UNPARSABLE, f"record.reference: no text at {self._part.reference.said}")
        return text

    def listed(self, record: Any) -> Listed | None:
        """As one of a page; None where it is of none of ours. Raises Unfit."""
        order = self.id_of(record)
        if order is None:
            return None
        assert self._part.at is not None
        return Listed(order, None, self.reference(record), instant(self._part.at.of(record)))

    def _is_refused(self, record: Any) -> bool:
        return self.state(record) in self._part.refused


def line_of(part: RecordPart, number: int, line: Any) -> ErpReceiptLine:
    """The line of that number, from 1. Raises Unfit, which names the place."""
    product, accepted = part.product.of(line), _whole(part.accepted.of(line))
    if not isinstance(product, str) or accepted is None or not 0 <= accepted <= MOST_BOXES:
        raise Unfit(Met.UNPARSABLE, f"record.lines, line {number}: no product, or no quantity")
    more = said_of(part, line)
    for name, value in more.items():
        try:
            more[name] = READ[name](value)
        except ValueError as error:
            raise Unfit(Met.UNPARSABLE, f"record.{name}, line {number}: {error}") from None
    if more.get("substitute") == product:
        del more["substitute"]
    if part.includes_back_ordered:
        accepted -= more.get("back_ordered", 0)
    return ErpReceiptLine(number, product, accepted, **more)


def said_of(part: RecordPart, line: Any) -> dict[str, Any]:
    """What is at those places that a profile need not name and that say something of a line, by their names."""
    found = {name: place.of(line) for name, place in part.optional().items()}
    return {name: value for name, value in found.items() if value is not None and value is not False and value != ""}


def _boxes(said: Any) -> int:
    """Raises ValueError."""
    boxes = _whole(said)
    if boxes is None or not 0 <= boxes <= MOST_BOXES:
        raise ValueError("no quantity")
    return boxes


def _code(said: Any) -> str:
    """Raises ValueError."""
    code = str(said).strip() if isinstance(said, str | int) else ""
    if not (0 < len(code) <= MOST_CODE and code.isprintable()):
        raise ValueError("no product's code")
    return code


def _reason(said: Any) -> str | None:
    """Raises ValueError."""
    if not isinstance(said, str | int):
        raise ValueError("no text")  # noqa: TRY004 - what is raised of every place
    return printable(str(said)) or None


def _day(said: Any) -> date:
    """Raises ValueError; one of long ago is a number that means something else."""
    with suppress(ValueError, TypeError, OverflowError, OSError):
        if (found := _time(said).date()) >= EARLIEST.date():
            return found
    raise ValueError("no day that can be read")


def instant(said: Any) -> datetime:
    """A time that is told as ISO 8601, in seconds since 1970, or in parts; UTC where it names no zone. Raises Unfit."""
    try:
        found = _time(said)
    except (ValueError, TypeError, OverflowError, OSError):
        raise Unfit(Met.UNPARSABLE, "record.at: no time that can be read") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _time(said: Any) -> datetime:
    """Raises what Python raises of what is no time."""
    if isinstance(said, str):
        return datetime.fromisoformat(said)
    if isinstance(said, Mapping):
        return datetime(**{name: int(said.get(name, 0)) for name in PARTS})  # type: ignore[arg-type]
    return datetime.fromtimestamp(float(said), UTC)


def _whole(said: Any) -> int | None:
    """A quantity in whole boxes, however an ERP writes it."""
    try:
        found = float(said)
    except (ValueError, TypeError):
        return None
    return int(found) if math.isfinite(found) and found == int(found) else None


READ: Final[Mapping[str, Callable[[Any], Any]]] = {
    "reason": _reason,
    "substitute": _code,
    "back_ordered": _boxes,
    "expected": _day,
}
