"""A profile tried out on an example, without sending anything: every request of an order, or the fault in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from orders.model import EXAMPLE, Order, parse
from workers.erp.failures import Unfit
from workers.erp.port import ErpReceipt, Mapped, Submission
from workers.erp.rest.described import BadProfile, Described, Request
from workers.erp.rest.given import seen, told
from workers.erp.rest.records import Records, said_of
from workers.erp.rest.templates import BadTemplate

NUMBER: Final = UUID("019a3c5e-7b1d-7c3e-9f00-8d2b4a6c1e35")  # of the example
DAY: Final = datetime(2026, 1, 5, tzinfo=UTC)


class MadeRequest(NamedTuple):
    """One request as it would go, but for who we are; `path` is below the ERP's URL."""

    key: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None


def tried_out(
    profile: Described, order: Order | None = None, settings: Mapping[str, Any] | None = None
) -> list[MadeRequest]:
    """The requests that an order makes, the example's where none is given. Raises BadProfile."""
    examples = {name: each.example for name, each in profile.profile.settings.items()}
    made = [
        _made(profile, request, {**given, "settings": settings or examples}) for request, given in _all(profile, order)
    ]
    shown_receipt(profile)
    return made


def shown_receipt(profile: Described) -> ErpReceipt:
    """What the example of a record says as a receipt. Raises BadProfile where a place does not lead to what it should,
    and where nothing in the example shows what it leads to.
    """
    part, example = profile.profile.record, profile.profile.record.example
    records = Records(part)
    try:
        receipt = records.receipt(example)
        if records.id_of(example) is None:
            raise BadProfile(profile.file, "record.order", "has no order's id in `record.example`")
        if profile.profile.listing is not None:
            records.listed(example)
    except Unfit as error:
        raise BadProfile(profile.file, "record.example", error.detail) from None
    shown = {name for line in part.lines.of(example) for name in said_of(part, line)}
    for name in part.optional().keys() - shown:
        raise BadProfile(profile.file, f"record.{name}", "finds nothing in `record.example`, in none of its lines")
    return receipt


def _made(profile: Described, request: Request, given: Mapping[str, Any]) -> MadeRequest:
    """Raises BadProfile."""
    try:
        return MadeRequest(request.key, request.method, *request.made(given))
    except BadTemplate as error:
        key, _, why = str(error).partition(": ")
        raise BadProfile(profile.file, key, why) from None


def _all(profile: Described, order: Order | None) -> Iterator[tuple[Request, dict[str, Any]]]:
    """Every request, with what its templates see."""
    submission = _example(order or parse(json.dumps(EXAMPLE).encode()))
    record = {"record": profile.profile.record.example}
    assert submission.mapped is not None
    codes = {"customer": (submission.mapped.customer,), "article": submission.mapped.articles}
    for kind, request in profile.look_ups.items():
        yield from ((request, {"code": code}) for code in codes[kind])
    yield profile.find, {"ids": [str(submission.id)]}
    if profile.read is not None:
        yield profile.read, record
    parts = profile.profile.look_up
    yield profile.send, seen(submission, lambda kind, _: parts[kind].example if kind in parts else None)
    yield from ((request, record) for _, _, request in profile.steps)
    if profile.undo is not None:
        yield profile.undo, record
    if profile.listing is not None and profile.profile.listing is not None:
        page = {"since": told(DAY), "until": told(DAY + timedelta(days=1)), "limit": profile.profile.listing.most}
        after = profile.profile.listing.cursor.of(profile.profile.record.example)
        yield from ((profile.listing, {**page, "after": each}) for each in (None, after))
    yield profile.probe, {}


def _example(order: Order) -> Submission:
    body = json.dumps(order.model_dump(mode="json")).encode()
    mapped = Mapped("C-1001", "P-1", "W-1", tuple(f"A-{line.product}" for line in order.lines))
    return Submission(NUMBER, body, hashlib.sha256(body).digest(), order=order, mapped=mapped)
