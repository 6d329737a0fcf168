"""The receipts' signatures, verified again: that a key of the ERP's signed what the journal says it signed.

A signature is a JWS (RFC 7515, EdDSA) over a JSON object, as docs/erp-contract.md says. Whether its key was in force
was seen when the receipt came (`workers.erp.signing`); a key that was revoked since still verifies what it signed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.api_jws import PyJWS
from jwt.exceptions import PyJWTError
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from orders.audit_codes import AuditCode
from orders.schema.tables.trust import receipt_keys
from orders.sentences import Sentence
from workers.proof.block_content import ROWS_AT_ONCE, Progress

MOST_NAMED: Final = 20
_JWS: Final = PyJWS(algorithms=["EdDSA"])

SIGNED: Final = text("""
SELECT r.order_id, r.backend, r.reference, CAST(r.lines AS text) AS lines, r.signature, r.key_id, o.digest AS sent
FROM receipts r LEFT JOIN orders o ON o.id = r.order_id WHERE r.key_id IS NOT NULL
""")

REGISTERED: Final = select(receipt_keys.c.backend, receipt_keys.c.key_id, receipt_keys.c.public)

SigningKeys = Mapping[tuple[str, str], Ed25519PublicKey]  # by backend and key id


@dataclass
class SignatureCounts:
    """How many receipts were signed, and what is wrong with which: `wrong` counts, `faults` names some of them."""

    signed: int = 0
    wrong: int = 0
    faults: list[Sentence] = field(default_factory=list)


async def signing_keys(connection: AsyncConnection) -> SigningKeys:
    """Every key that any backend ever had, but for what is none."""
    return (await _registered(connection))[0]


async def _registered(connection: AsyncConnection) -> tuple[SigningKeys, list[Sentence]]:
    """Those, and what is wrong with each that somebody wrote past `receipt_keys.add`: it is no key."""
    keys, unusable = {}, []
    for row in await connection.execute(REGISTERED):
        try:
            keys[row.backend, row.key_id] = Ed25519PublicKey.from_public_bytes(row.public)
        except ValueError:
            unusable.append(Sentence(AuditCode.NO_KEY, key=row.key_id, backend=row.backend))
    return keys, unusable


def disagreement(claims: Mapping[str, Any], row: Any) -> Sentence | None:
    """What the signed claims say otherwise than the journal does of the order, or None."""
    if claims.get("order") != str(row.order_id):
        return Sentence(AuditCode.OF_ANOTHER_ORDER)
    if row.sent is None or claims.get("digest") != row.sent.hex():
        return Sentence(AuditCode.OF_ANOTHER_CONTENT)
    if claims.get("reference") != row.reference:
        return Sentence(AuditCode.WITH_ANOTHER_REFERENCE)
    same = _lines(claims.get("lines")) == _lines(json.loads(row.lines))
    return None if same else Sentence(AuditCode.WITH_OTHER_LINES)


def _lines(lines: Any) -> list[tuple[Any, ...]] | None:
    """What of each line is signed, or None where they are no lines."""
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        return None
    always, more = ("line", "product", "accepted"), ("substitute", "back_ordered", "expected")
    return [(*map(line.get, always), *(line.get(name) or None for name in more)) for line in lines]


async def check_signatures(connection: AsyncConnection, progress: Progress | None = None) -> SignatureCounts:
    """Verify every receipt that the journal calls signed, some 10,000 a second, in bounded memory."""
    keys, unusable = await _registered(connection)
    found = SignatureCounts(faults=unusable[:MOST_NAMED])
    async with connection.stream(SIGNED, execution_options={"yield_per": ROWS_AT_ONCE}) as rows:
        async for part in rows.partitions(ROWS_AT_ONCE):
            for row in part:
                found.signed += 1
                if (why := doubt(row, keys)) is not None:
                    found.wrong += 1
                    if found.wrong <= MOST_NAMED:
                        found.faults.append(Sentence(AuditCode.RECEIPT, order=str(row.order_id), what=why))
            if progress is not None:
                progress(len(part))
    if found.wrong > MOST_NAMED:
        found.faults.append(Sentence(AuditCode.MORE_RECEIPTS, count=found.wrong - MOST_NAMED))
    return found


def doubt(row: Any, keys: SigningKeys) -> Sentence | None:
    """Why the receipt in a row of SIGNED does not prove what it says, or None."""
    key = keys.get((row.backend, row.key_id))
    if key is None:
        return Sentence(AuditCode.UNKNOWN_KEY, key=row.key_id)
    try:
        whole = _JWS.decode_complete(row.signature or "", key, algorithms=["EdDSA"])
        claims = json.loads(whole["payload"])
    except (PyJWTError, ValueError):
        claims = None
    if not isinstance(claims, dict):
        return Sentence(AuditCode.BAD_SIGNATURE)
    if whole["header"].get("kid") != row.key_id:
        return Sentence(AuditCode.NAMES_ANOTHER_KEY)
    return disagreement(claims, row)
