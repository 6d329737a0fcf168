"""What is wrong with a body that is no order: every fault by line, as many as somebody reads, within bounds.

What no order has as much of is counted before anything is built of a body, and as its pieces come. pydantic finds all
faults or the first one, and a body may have thousands. Here it is read as plain JSON once, its head is checked without
the lines, and the lines by the hundred until enough is found.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from orders.errors import Fault, Malformed

MOST_FAULTS: Final = 100  # that are told; one more says that there are more
SLICE: Final = 100  # lines checked at once
STRANGERS: Final = 8  # unknown keys of one object that are looked at
TEXTS: Final = 600  # commas and brackets of an order that are not its lines': its note, its reference, its own keys
LONGEST: Final = 16 * 1024  # bytes between two quotation marks: a note is 500 characters, of 12 bytes each at most

Json = dict[str, Any]


class Extent:
    """How much of what takes time to read a body has, counted as its pieces come."""

    __slots__ = ("_commas", "_lines", "_openings", "_quotes")

    def __init__(self, lines: int) -> None:
        """Of an order of at most so many lines."""
        self._lines = lines
        self._commas = self._openings = self._quotes = 0

    def add(self, piece: bytes) -> None:
        """One piece more. Raises Malformed once there is more than an order can have."""
        self._commas += piece.count(b",")
        self._openings += piece.count(b"{") + piece.count(b"[")
        self._quotes += piece.count(b'"')
        most = 2 * self._lines + TEXTS
        if self._commas > most or self._openings > self._lines + TEXTS or self._quotes > 4 * most:
            raise Malformed([Fault("body", None, f"is more than an order of {self._lines} lines can be")])
        if len(piece) > LONGEST and max(map(len, piece.split(b'"'))) > LONGEST:
            raise Malformed([Fault("body", None, f"holds more than {LONGEST} bytes between two quotation marks")])


def read_again(raw: bytes, order: type[BaseModel], lines: TypeAdapter[Any], most: int) -> bytes:
    """The body again where all that was wrong is that whole numbers were written as 2.0, which JSON Schema takes.

    `lines` checks a list of lines, of which an order has `most`. Raises Malformed with up to MOST_FAULTS + 1 faults.
    """
    try:
        value = from_json(raw)
    except ValueError as error:
        raise Malformed([Fault("body", None, f"Invalid JSON: {error}")]) from None
    if not isinstance(value, dict):
        raise Malformed([Fault("body", None, "Input should be an object")])
    value = _pruned(value, order)
    given = value.get("lines")
    found = _of_lines(given, lines, most) if isinstance(given, list) and given else []
    head = _faults(order, {**value, "lines": [_GOOD]} if isinstance(given, list) and given else value)
    if found or head:
        after = next((at for at, fault in enumerate(head) if fault.field >= "lines" or fault.line), len(head))
        raise Malformed([*head[:after], *found, *head[after:]][: MOST_FAULTS + 1])
    return to_json(value)


_GOOD: Final[Json] = {"product": "3400937318044", "quantity": 1}  # stands for the lines when the head is checked


def _of_lines(given: list[Any], lines: TypeAdapter[Any], most: int) -> list[Fault]:
    """Faults of the lines, whose whole numbers are put right."""
    if len(given) > most:
        return [Fault("lines", None, f"must hold at most {most} lines, not {len(given)}")]
    given[:] = [_whole(_pruned_line(each)) if isinstance(each, dict) else each for each in given]
    found: list[Fault] = []
    for start in range(0, len(given), SLICE):
        try:
            lines.validate_json(to_json(given[start : start + SLICE]))
        except ValidationError as error:
            found += (_fault(("lines", *_shifted(each["loc"], start)), each) for each in _errors(error))
            if len(found) > MOST_FAULTS:
                break
    return found


def _pruned(value: Json, order: type[BaseModel]) -> Json:
    """Without most of the keys that no order has."""
    known = order.model_fields.keys()
    strangers = islice((key for key in value if key not in known), MOST_FAULTS + 1)
    return {key: value[key] for key in chain((key for key in value if key in known), strangers)}


def _pruned_line(line: Json) -> Json:
    known = {key: line[key] for key in _GOOD if key in line}
    return line if len(line) == len(known) else known | dict(islice(line.items(), STRANGERS))


def _whole(line: Json) -> Json:
    quantity = line.get("quantity")
    if isinstance(quantity, float) and quantity.is_integer():
        line["quantity"] = int(quantity)
    return line


def _faults(order: type[BaseModel], value: Json) -> list[Fault]:
    try:
        order.model_validate_json(to_json(value))
    except ValidationError as error:
        return [_fault(each["loc"], each) for each in _errors(error)]
    return []


def _errors(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)


def _shifted(where: tuple[int | str, ...], start: int) -> tuple[int | str, ...]:
    """The place counted from 1, of a slice that begins at `start`."""
    return (int(where[0]) + start + 1, *where[1:])


def _fault(where: tuple[int | str, ...], detail: ErrorDetails) -> Fault:
    """A fault of ours from one of pydantic's; it never repeats a value, which might be about a patient."""
    line = where[1] if len(where) > 1 and isinstance(where[1], int) else None
    message = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
    return Fault(".".join(map(safe_name, where)) or "body", line, message)


def safe_name(part: int | str) -> str:
    """A piece of a path that is safe to show: a sender may call a key anything."""
    text = str(part)[:64]
    return text if text.isprintable() else ascii(text)
