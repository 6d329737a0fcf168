"""A receipt is believed only when it is for the very bytes that were sent and for no more than was ordered."""

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from workers.erp.failures import Met, Unfit
from workers.erp.http.answers import read_found, read_pending, read_receipt, read_refusal
from workers.erp.port import ErpReceiptLine, Kind, Outcome, Submission

BODY = b'{"lines":[{"product":"3400937318044","quantity":2},{"product":"3400938615470","quantity":5}]}'
ORDER = Submission(uuid4(), BODY, hashlib.sha256(BODY).digest())
RECEIPT: dict[str, Any] = {
    "reference": "E-1",
    "digest": ORDER.digest.hex(),
    "lines": [
        {"line": 1, "product": "3400937318044", "accepted": 2, "reason": None},
        {"line": 2, "product": "3400938615470", "accepted": 3, "reason": "rupture : réassort jeudi"},
    ],
}


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    receipt = copy.deepcopy(RECEIPT)
    change(receipt)
    return json.dumps(receipt).encode()


def met(raw: bytes) -> Met:
    with pytest.raises(Unfit) as caught:
        read_receipt(raw, ORDER)
    assert "\n" not in caught.value.detail
    return caught.value.met


def test_a_good_receipt_is_read_with_its_shortages() -> None:
    receipt = read_receipt(changed(lambda r: r.update(signature="c2ln", more={"not": "asked for"})), ORDER)
    assert (receipt.reference, receipt.digest, receipt.signature) == ("E-1", ORDER.digest, "c2ln")
    assert receipt.lines == (
        ErpReceiptLine(1, "3400937318044", 2),
        ErpReceiptLine(2, "3400938615470", 3, "rupture : réassort jeudi"),
    )


def test_a_line_without_a_reason_is_read() -> None:
    assert read_receipt(changed(lambda r: r["lines"][0].pop("reason")), ORDER).lines[0].reason is None


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["lines"][0].update(accepted=3),
        lambda r: r["lines"].pop(),
        lambda r: r["lines"].append(r["lines"][0]),
        lambda r: r["lines"].reverse(),
        lambda r: r["lines"][0].update(line=2),
        lambda r: r["lines"][0].update(product="3400938615470"),
        lambda r: r.update(lines=[]),
    ],
)
def test_a_receipt_for_other_lines_is_not_believed(change: Callable[[dict[str, Any]], object]) -> None:
    assert met(changed(change)) is Met.WRONG_LINES


def test_a_receipt_for_other_bytes_is_not_believed() -> None:
    assert met(changed(lambda r: r.update(digest="0" * 64))) is Met.WRONG_DIGEST


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<!doctype html>",
        b"\xff\xfe",
        b'{"reference":',
        b"[" * 10_000,
        changed(lambda r: r.pop("digest")),
        changed(lambda r: r.update(digest="zz" * 32)),
        changed(lambda r: r.update(digest=None)),
        changed(lambda r: r.update(reference="")),
        changed(lambda r: r.update(reference=7)),
        changed(lambda r: r.update(reference="x" * 201)),
        changed(lambda r: r.update(reference="nul\x00")),
        changed(lambda r: r.update(signature="é")),
        changed(lambda r: r["lines"][0].update(accepted=-1)),
        changed(lambda r: r["lines"][0].update(accepted="2")),
        changed(lambda r: r["lines"][0].update(accepted=True)),
        changed(lambda r: r["lines"][0].update(accepted=1.5)),
        changed(lambda r: r["lines"][0].update(accepted=10**30)),
        changed(lambda r: r["lines"][0].update(reason="nul\x00")),
        changed(lambda r: r["lines"][0].update(reason="x" * 300)),
        changed(lambda r: r["lines"][0].update(reason="\ud800")),
    ],
)
def test_what_the_contract_does_not_know_is_unparsable(raw: bytes) -> None:
    assert met(raw) is Met.UNPARSABLE


def test_pending_and_refusals_are_read() -> None:
    assert read_pending(b'{"reference":"P-1"}') == "P-1"
    assert read_refusal(b'{"error":"account closed\\n\\u0000"}') == "account closed"
    with pytest.raises(Unfit, match="bytes") as caught:
        read_refusal(b"<html>400 Bad Request</html>")
    assert caught.value.met is Met.WORDLESS


def test_find_tells_of_each_order_asked_about() -> None:
    ids = [uuid4() for _ in range(4)]
    told = [
        {"id": str(ids[0]), "state": "accepted", **RECEIPT},
        {"id": str(ids[1]), "state": "pending", "reference": "P-1"},
        {"id": str(ids[2]), "state": "refused", "error": "not sold"},
    ]
    found = read_found(json.dumps({"orders": told}).encode(), ids)
    assert [found[order_id].kind for order_id in ids] == [Kind.ACCEPTED, Kind.PENDING, Kind.REFUSED, Kind.ABSENT]
    receipt = found[ids[0]].receipt
    assert receipt is not None and receipt.lines[1].accepted == 3
    assert found[ids[2]].detail == "not sold"


@pytest.mark.parametrize("which", ["foreign", "twice", "stateless", "accepted without a receipt", "no list"])
def test_a_find_that_tells_anything_else_is_not_believed(which: str) -> None:
    asked = uuid4()
    entry = {"id": str(asked), "state": "pending", "reference": "P-1"}
    told: Any = {
        "foreign": [{**entry, "id": str(uuid4())}],
        "twice": [entry, entry],
        "stateless": [{"id": str(asked), "reference": "P-1"}],
        "accepted without a receipt": [{**entry, "state": "accepted"}],
        "no list": {"id": str(asked)},
    }[which]
    with pytest.raises(Unfit) as caught:
        _found(told, asked)
    assert caught.value.met is (Met.UNSENT_ORDER if which == "foreign" else Met.UNPARSABLE)


def _found(told: Any, asked: UUID) -> dict[UUID, Outcome]:
    return read_found(json.dumps({"orders": told}).encode(), [asked])
