"""A receipt is believed only when it is for the very bytes that were sent and for no more than was ordered."""

import copy
import hashlib
import json
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest

from workers.erp.failures import TABLE, Met, Unfit
from workers.erp.http.answers import read_found, read_pending, read_receipt, read_refusal
from workers.erp.port import LINES, ErpReceipt, ErpReceiptLine, Evidence, Kind, Outcome, Submission
from workers.erp.receipts import verify

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


def met(raw: bytes, *, substitutes: bool = True) -> Met:
    with pytest.raises(Unfit) as caught:
        read_receipt(raw, ORDER, substitutes=substitutes)
    assert "\n" not in caught.value.detail
    return caught.value.met


def test_a_good_receipt_is_read_with_its_shortages() -> None:
    receipt = read_receipt(
        changed(lambda r: r.update(signature="c2ln", more={"not": "asked for"})), ORDER, substitutes=False
    )
    assert (receipt.reference, receipt.digest, receipt.signature) == ("E-1", ORDER.digest, "c2ln")
    assert receipt.lines == (
        ErpReceiptLine(1, "3400937318044", 2),
        ErpReceiptLine(2, "3400938615470", 3, "rupture : réassort jeudi"),
    )


def test_a_line_without_a_reason_is_read() -> None:
    told = read_receipt(changed(lambda r: r["lines"][0].pop("reason")), ORDER, substitutes=False)
    assert told.lines[0].reason is None


def test_what_comes_in_its_place_and_what_comes_later_is_read() -> None:
    more = {"substitute": "3400930000001", "back_ordered": 2, "expected": "2024-10-22"}
    receipt = read_receipt(changed(lambda r: r["lines"][1].update(more)), ORDER, substitutes=True)
    line = ErpReceiptLine(2, "3400938615470", 3, RECEIPT["lines"][1]["reason"], "3400930000001", 2, date(2024, 10, 22))
    assert receipt.lines[1] == line
    assert json.loads(LINES.dump_json(receipt.lines))[1] == RECEIPT["lines"][1] | more
    assert LINES.validate_json(LINES.dump_json(receipt.lines)) == receipt.lines
    nothing = changed(lambda r: r["lines"][0].update(substitute=None, back_ordered=0, expected=None))
    assert read_receipt(nothing, ORDER, substitutes=False).lines[0] == ErpReceiptLine(1, "3400937318044", 2)


def test_another_product_is_evidence_where_the_backend_may_not_substitute() -> None:
    other = changed(lambda r: r["lines"][0].update(substitute="3400930000001"))
    with pytest.raises(Unfit, match="line 1: 3400930000001 in the place of 3400937318044") as caught:
        read_receipt(other, ORDER, substitutes=False)
    assert TABLE[caught.value.met].evidence is Evidence.WRONG_LINES


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"expected": "tomorrow"}, r"lines\.1\.expected: .*YYYY-MM-DD"),
        ({"expected": "2024-02-30"}, r"lines\.1\.expected: .*out of range"),
        ({"expected": "2024-10-22T00:00:00Z"}, r"lines\.1\.expected: "),
        ({"expected": "1729555200"}, r"lines\.1\.expected: .*YYYY-MM-DD"),
        ({"expected": 1729555200}, r"lines\.1\.expected: .*valid date"),
        ({"back_ordered": -1}, "line 2, back_ordered"),
        ({"back_ordered": "2"}, r"lines\.1\.back_ordered: "),
        ({"back_ordered": 10**6}, "line 2, back_ordered"),
        ({"substitute": ""}, "line 2, substitute"),
        ({"substitute": "3400938615470"}, "line 2, substitute"),
        ({"substitute": "<b>"}, "line 2, substitute"),
        ({"substitute": "1" * 41}, "line 2, substitute"),
        ({"substitute": 7}, r"lines\.1\.substitute: "),
    ],
)
def test_what_is_told_badly_of_a_line_is_named(more: dict[str, Any], said: str) -> None:
    with pytest.raises(Unfit, match=said) as caught:
        read_receipt(changed(lambda r: r["lines"][1].update(more)), ORDER, substitutes=True)
    assert caught.value.met is Met.UNPARSABLE


def test_a_connector_that_counts_below_nothing_is_not_believed() -> None:
    lines = (ErpReceiptLine(1, "3400937318044", 3, back_ordered=-1), ErpReceiptLine(2, "3400938615470", 5))
    with pytest.raises(Unfit) as caught:
        verify(ErpReceipt("E-1", ORDER.digest, lines), BODY, ORDER.digest, substitutes=True)
    assert caught.value.met is Met.WRONG_LINES


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["lines"][0].update(accepted=3),
        lambda r: r["lines"][0].update(back_ordered=1),
        lambda r: r["lines"][1].update(back_ordered=3, expected="2024-10-22"),
        lambda r: r["lines"][0].update(product="3400930000001", substitute="3400937318044"),
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
