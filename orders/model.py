"""What an order is: the one shape in which orders are taken in, journalled and forwarded.

The same order has the same canonical bytes (RFC 8785), and so the same digest, however it was written: order
of keys, white space, escapes, CIP7 or CIP13, time zone, fractions of a second. What can be read in two ways
is refused. The fields stand in alphabetical order, so that what pydantic writes is canonical as it comes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic.config import JsonDict

from orders.errors import Fault, Malformed
from orders.faults import MOST_FAULTS, Extent, read_again, safe_name
from orders.identifiers import CUSTOMER_CODE, product

MOST_LINES = 2_000
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(3000, 1, 1, tzinfo=UTC)

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _instant(value: object) -> object:
    """The time in UTC, to the second. RFC 3339 only: pydantic would read "1700000000" as a time too."""
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        with suppress(ValueError):  # 30 February, 25 o'clock
            value = datetime.fromisoformat(value.upper())
    if not isinstance(value, datetime):
        raise ValueError(  # noqa: TRY004 - a TypeError would be a crash to pydantic, not a fault
            "must be a time such as 2026-01-01T12:00:00Z or 2026-01-01T13:00:00+01:00"
        )
    if value.tzinfo is None:
        raise ValueError("must carry its zone, as in 2026-01-01T12:00:00Z or 2026-01-01T13:00:00+01:00")
    if not EARLIEST <= value < LATEST:
        raise ValueError("must lie in the years 2000 to 2999")
    return value.astimezone(UTC).replace(microsecond=0)


def _printable(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("must be printable, without control characters or spaces at either end")
    return value


def _not_empty(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """As a constraint of the tuple's, pydantic would count faulty lines as missing ones."""
    if not lines:
        raise ValueError("must hold at least one line")
    return lines


def _free_of_control(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must not hold control characters other than tab and line breaks")
    return value


Product = Annotated[str, AfterValidator(product)]
Pharmacy = Annotated[str, StringConstraints(pattern=CUSTOMER_CODE)]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_printable)]
Note = Annotated[str, StringConstraints(max_length=500), AfterValidator(_free_of_control)]
Instant = Annotated[AwareDatetime, BeforeValidator(_instant)]
Priority = Literal["urgent", "normal"]
RANK: dict[Priority, int] = {"urgent": 0, "normal": 1}  # as the journal sorts: the lowest goes first

EXAMPLE: JsonDict = {
    "pharmacy": "990000002",
    "reference": "CMD-2026-000123",
    "priority": "urgent",
    "cut_off": "2026-01-05T12:30:00+01:00",
    "lines": [{"product": "3400937318044", "quantity": 2}, {"product": "3861547", "quantity": 1}],
}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class Line(_Strict):
    """One product and how many boxes of it."""

    product: Product = Field(
        description="CIP13, ACL13 or UCD13 (13 digits, the last its check digit), or a CIP7, kept as CIP13",
        examples=["3400937318044", "3731804"],
        json_schema_extra={"pattern": "^([0-9]{7}|340[01][0-9]{9})$"},
    )
    quantity: int = Field(ge=1, le=99_999, description="boxes, a JSON integer", examples=[2])


Lines = Annotated[
    tuple[Line, ...],
    Field(max_length=MOST_LINES, strict=False, json_schema_extra={"minItems": 1}),
    FailFast(),
    AfterValidator(_not_empty),
]


class Order(_Strict):
    """What a pharmacy orders. An unknown key, one that stands twice or a value of another type is refused."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    cut_off: Instant | None = Field(
        None, description="when it must be with the ERP to make its delivery round; the nearest goes first"
    )
    lines: Lines = Field(description="what is ordered, at least one line, each product once")
    note: Note | None = Field(None, repr=False, description="free text, which may be about a patient")
    pharmacy: Pharmacy = Field(
        description="FINESS number or the wholesaler's customer code, kept as sent", examples=["990000002"]
    )
    priority: Priority = Field("normal", description="urgent orders go before normal ones")
    reference: Reference = Field(description="the pharmacy's own order number, used once", examples=["CMD-2026-000123"])
    valid_until: Instant | None = Field(
        None, description="after this the order is not to be delivered; one that is past is no order any more"
    )


_LINES = TypeAdapter(list[Line])


def parse(raw: bytes) -> Order:
    """The order in a JSON body; Malformed with its faults, MOST_FAULTS + 1 at most.

    Lines count from 1, in `field` as in `line`. Whatever the body holds, this takes milliseconds and little memory.
    Where a key stands twice in an object, some JSON readers take its last value (pydantic does), some the
    first. A quantity must not hang on that, so it is a fault; RFC 8785 takes no such input either. A product that
    stands on two lines is one too: nobody could tell which quantity, or their sum, was meant.
    """
    if len(raw) > MOST_LINES:  # in less there cannot be too much of anything
        Extent(MOST_LINES).add(raw)
    try:
        order = Order.model_validate_json(raw)
    except ValidationError:
        order = Order.model_validate_json(read_again(raw, Order, _LINES, MOST_LINES))
    if not _strings_add_up(raw, order) and (repeated := _repeated_keys(raw)):
        raise Malformed(repeated)
    if len({line.product for line in order.lines}) != len(order.lines):
        raise Malformed(_repeated_products(order.lines))
    return order


def canonical(order: Order) -> bytes:
    """The order's one writing: RFC 8785, absent fields left out, times in UTC to the second.

    `Order.model_validate_json` reads it back without the search for repeated keys that foreign bytes need.
    """
    return order.model_dump_json(exclude_none=True).encode()


def digest(body: bytes) -> bytes:
    """SHA-256 of canonical bytes, 32 bytes."""
    return hashlib.sha256(body).digest()


def _strings_add_up(raw: bytes, order: Order) -> bool:
    """True when no key stands twice: the body has as many quotation marks as the order read from it explains.

    Each key and each text has two, a repeated key or an escaped mark adds more. Saves reading most bodies again.
    """
    given = order.model_fields_set
    nulls = sum(getattr(order, name) is None for name in given)
    strings = 2 * len(given) - 1 - nulls + 3 * len(order.lines)  # `lines` itself is a key, not a text
    return raw.count(b'"') == 2 * strings


def _repeated_products(lines: tuple[Line, ...]) -> list[Fault]:
    """A fault for each line whose product, as CIP7 or CIP13, stands on an earlier one."""
    first: dict[str, int] = {}
    seen = [(number, first.setdefault(line.product, number)) for number, line in enumerate(lines, 1)]
    again = [(number, earlier) for number, earlier in seen if earlier != number]
    return [
        Fault(f"lines.{number}.product", number, f"the same product as line {earlier}")
        for number, earlier in again[: MOST_FAULTS + 1]
    ]


def _repeated_keys(raw: bytes) -> list[Fault]:
    """A fault for each key that stands more than once in an object of a body that is an order otherwise."""
    found: list[tuple[dict[str, Any], str]] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            counts = Counter(key for key, _ in pairs)
            found.extend((entries, key) for key, times in counts.items() if times > 1)
        return entries

    root = json.loads(raw, object_pairs_hook=build, parse_int=str)
    numbers = {id(entries): number for number, entries in enumerate(root["lines"], 1)} if found else {}
    places = [(numbers.get(id(entries)), safe_name(key)) for entries, key in found]
    again = "stands more than once in one object"
    return [Fault(f"lines.{line}.{key}" if line else key, line, again) for line, key in places[: MOST_FAULTS + 1]]
