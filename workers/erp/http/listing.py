"""What an ERP holds, page by page, by the contract (docs/erp-contract.md).

A compromised ERP may tell anything: a page is read only when it is what was asked for, in turn, within the span of
time, no longer than asked and leading on. So a reader that follows `next` cannot be led in circles within a page, and
never holds more than one.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import AwareDatetime, FailFast, Field, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes the standard one only from Python 3.12 on

from workers.erp.failures import Met, Unfit, printable
from workers.erp.http.answers import STRICT, Digest, Id, Word
from workers.erp.port import Listed, Listing

MOST_LISTED: Final = 500  # orders in a page
ROUNDED: Final = timedelta(seconds=1)  # an ERP may keep its times in whole seconds

Next = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class _Listed(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    id: Id
    digest: Digest
    reference: Word
    received_at: Annotated[AwareDatetime, Field(strict=False)]


class _Page(TypedDict):
    __pydantic_config__ = STRICT  # type: ignore[misc]
    orders: Annotated[list[_Listed], Field(max_length=MOST_LISTED), FailFast()]
    next: Next | None


_PAGE: Final = TypeAdapter(_Page)


def ask_for(since: datetime, until: datetime, after: str | None) -> bytes:
    """The body of the question for a page."""
    return json.dumps({"since": _stamp(since), "until": _stamp(until), "after": after, "limit": MOST_LISTED}).encode()


def read_page(raw: bytes, since: datetime, until: datetime, after: str | None) -> Listing:
    """The page in the body of a 200. Raises Unfit when it is not what was asked for."""
    try:
        told = _PAGE.validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise Unfit(Met.UNPARSABLE, printable(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")) from None
    orders = tuple(
        Listed(o["id"], bytes.fromhex(o["digest"]), o["reference"], o["received_at"]) for o in told["orders"]
    )
    times = [order.at for order in orders]
    if len({order.id for order in orders}) < len(orders):
        raise Unfit(Met.UNPARSABLE, "an order twice")
    if times != sorted(times) or (times and not (since - ROUNDED <= times[0] and times[-1] < until)):
        raise Unfit(Met.UNPARSABLE, "orders out of turn, or of another time than was asked for")
    if told["next"] is not None and (not orders or told["next"] == after):
        raise Unfit(Met.UNPARSABLE, "a page that leads nowhere")
    return Listing(orders, told["next"])


def _stamp(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
