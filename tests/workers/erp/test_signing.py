"""A signature is good for one receipt of one order, by one key in force, and for nothing else."""

import base64
import hashlib
import json
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from workers.erp.failures import Met, Unfit
from workers.erp.port import ErpReceipt, ErpReceiptLine
from workers.erp.signing import TYPE, Key, born, sign, verified

PRIVATE = Ed25519PrivateKey.generate()
NOW = datetime.now(UTC)
ORDER = uuid7()
LINES = (ErpReceiptLine(1, "3400937318044", 2), ErpReceiptLine(2, "3400938615470", 0, "rupture"))
DIGEST = hashlib.sha256(b"an order").digest()
KEYS = {"k1": Key("k1", PRIVATE.public_key()), "old": Key("old", PRIVATE.public_key(), NOW - timedelta(seconds=1))}


def signature(key_id: str = "k1", private: Ed25519PrivateKey = PRIVATE, **changes: Any) -> str:
    what = {"digest": DIGEST.hex(), "reference": "E-1", "lines": LINES, "at": NOW, "order_id": str(ORDER), **changes}
    return sign(private, key_id, what.pop("order_id"), **what)


def check(signed: str, order_id: UUID = ORDER, *, fresh: bool = True, at: datetime = NOW, **changes: Any) -> str:
    receipt = replace(ErpReceipt("E-1", DIGEST, LINES, signed), **changes)
    return verified(signed, KEYS, order_id, receipt, at=at, drift=300, fresh=fresh)


def met(signed: str, **how: Any) -> Met:
    with pytest.raises(Unfit) as caught:
        check(signed, **how)
    assert "\n" not in caught.value.detail
    return caught.value.met


def test_what_was_signed_is_verified_and_names_its_key() -> None:
    assert check(signature()) == "k1"


def test_any_stack_can_sign_it() -> None:
    """With seconds since 1970, other members and other white space, made by another library's JWT."""
    lines = [{"line": line.line, "product": line.product, "accepted": line.accepted, "x": 1} for line in LINES]
    told = {"order": str(ORDER), "digest": DIGEST.hex(), "reference": "E-1", "lines": lines, "at": NOW.timestamp()}
    made = jwt.encode({**told, "more": "ignored"}, PRIVATE, algorithm="EdDSA", headers={"kid": "k1", "typ": TYPE})
    assert check(made) == "k1"


def test_what_comes_in_its_place_and_what_comes_later_is_signed() -> None:
    """A signer who says of a line that nothing comes later may leave the word out, and no other."""
    told = replace(LINES[1], substitute="3400930000001", back_ordered=4, expected=date(2024, 10, 22))
    lines = (LINES[0], told)
    assert check(signature(lines=lines), lines=lines) == "k1"
    assert met(signature(), lines=lines) is Met.WRONG_LINES
    for name in ("substitute", "back_ordered", "expected"):
        without = (LINES[0], replace(told, **{name: None if name != "back_ordered" else 0}))
        assert met(signature(lines=without), lines=lines) is Met.WRONG_LINES
        assert met(signature(lines=lines), lines=without) is Met.WRONG_LINES
    assert met(signature(lines=[LINES[0], {**asdict(told), "expected": "soon"}]), lines=lines) is Met.BAD_SIGNATURE
    nothing = [asdict(line) | {"substitute": None, "back_ordered": 0, "expected": None} for line in LINES]
    assert check(signature(lines=nothing)) == "k1"


@pytest.mark.parametrize(
    ("signed", "how", "says"),
    [
        (signature("k2"), {}, Met.UNKNOWN_KEY),
        (signature("old"), {}, Met.UNKNOWN_KEY),
        (signature(private=Ed25519PrivateKey.generate()), {}, Met.BAD_SIGNATURE),
        (signature(), {"reference": "E-2"}, Met.BAD_SIGNATURE),
        (signature(), {"digest": b"d" * 32}, Met.WRONG_DIGEST),
        (signature(), {"lines": LINES[:1]}, Met.WRONG_LINES),
        (signature(), {"lines": (replace(LINES[0], accepted=1), LINES[1])}, Met.WRONG_LINES),
        (signature(), {"order_id": uuid4()}, Met.UNSENT_ORDER),
        (signature(at=NOW - timedelta(seconds=301)), {}, Met.UNTIMELY),
        (signature(at=NOW + timedelta(seconds=301)), {}, Met.UNTIMELY),
        (signature(at=NOW + timedelta(seconds=301)), {"fresh": False}, Met.UNTIMELY),
        (signature(at=NOW - timedelta(days=1)), {"fresh": False}, Met.UNTIMELY),
        ("", {}, Met.BAD_SIGNATURE),
        ("a.b.c", {}, Met.BAD_SIGNATURE),
        ("." * 100, {}, Met.BAD_SIGNATURE),
    ],
)
def test_what_is_not_good_has_its_name(signed: str, how: dict[str, Any], says: Met) -> None:
    assert met(signed, **how) is says


def test_a_receipt_that_is_not_fresh_may_be_as_old_as_its_order() -> None:
    made = born(ORDER)
    assert made is not None and abs(NOW - made) < timedelta(seconds=60)
    later = NOW + timedelta(days=30)
    assert check(signature(at=NOW), fresh=False, at=later) == "k1"
    assert met(signature(at=NOW - timedelta(seconds=400)), fresh=False, at=later) is Met.UNTIMELY
    assert born(uuid4()) is None


@pytest.mark.parametrize(
    "header", [{"alg": "none"}, {"alg": "HS256"}, {"alg": "EdDSA", "typ": "JWT"}, {"alg": "ES256"}]
)
def test_the_signer_does_not_choose_the_algorithm_or_the_type(header: dict[str, str]) -> None:
    """A key that signs something else too, or a public key taken for a secret, proves nothing."""
    _, payload, _ = signature().split(".")
    head = base64.urlsafe_b64encode(json.dumps({"kid": "k1", "typ": TYPE, **header}).encode()).rstrip(b"=").decode()
    proper = base64.urlsafe_b64encode(PRIVATE.sign(f"{head}.{payload}".encode())).rstrip(b"=").decode()
    assert met(f"{head}.{payload}.{proper}") is Met.BAD_SIGNATURE
    assert met(f"{head}.{payload}.") is Met.BAD_SIGNATURE


@pytest.mark.parametrize("gone", ["order", "digest", "reference", "lines", "at"])
def test_nothing_may_be_missing(gone: str) -> None:
    _, payload, _ = signature().split(".")
    told = json.loads(base64.urlsafe_b64decode(payload + "=="))
    del told[gone]
    made = jwt.encode(told, PRIVATE, algorithm="EdDSA", headers={"kid": "k1", "typ": TYPE})
    assert met(made) is Met.BAD_SIGNATURE


@given(st.integers(0, 400), st.sampled_from("ABCXYZabcxyz0189-_.= \x00é"))
def test_a_signature_that_was_altered_is_none(at: int, put: str) -> None:
    good = signature()
    spoilt = good[: at % len(good)] + put + good[at % len(good) + 1 :]
    try:
        check(spoilt)
    except Unfit:
        return
    # base64 has a few bits to spare in a last letter: nothing that is signed may differ.
    assert spoilt == good or _decoded(spoilt) == _decoded(good)


def _decoded(signed: str) -> list[bytes]:
    return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in signed.split(".")]
