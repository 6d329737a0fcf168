"""What a receipt must be to be believed, whichever connector read it.

It is for the very bytes that were sent, line by line, and for no more than was ordered. Everything else raises
`Unfit`, which the table in `workers.erp.failures` turns into an outcome.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic_core import from_json

from orders.sentences import count
from workers.erp.failures import TABLE, Met, Unfit
from workers.erp.port import ErpReceipt, Outcome


def verify(receipt: ErpReceipt, body: bytes, digest: bytes, *, echoed: bool = True) -> None:
    """Raise Unfit unless the receipt is for these canonical bytes, line by line, and for no more than was ordered.

    An ERP that has `echoed` no digest is believed by the lines alone.
    """
    if echoed and receipt.digest != digest:
        raise Unfit(Met.WRONG_DIGEST, f"receipt {receipt.reference}")
    ordered = from_json(body)["lines"]
    if len(receipt.lines) != len(ordered):
        raise Unfit(Met.WRONG_LINES, f"{count(len(receipt.lines), 'line')} for {len(ordered)}")
    for number, (line, wanted) in enumerate(zip(receipt.lines, ordered, strict=True), 1):
        if line.line != number or line.product != wanted["product"]:
            raise Unfit(Met.WRONG_LINES, f"line {number} is out of turn or another product")
        if line.accepted > wanted["quantity"]:
            raise Unfit(Met.WRONG_LINES, f"line {number}: {line.accepted} of {wanted['quantity']} boxes accepted")


def believed(outcome: Outcome, body: bytes, digest: bytes, *, echoed: bool) -> Outcome:
    """An outcome of `find` or `poll` as it is, or SUSPICIOUS when its receipt is not for these canonical bytes."""
    if outcome.receipt is None:
        return outcome
    try:
        verify(outcome.receipt, body, digest, echoed=echoed)
    except Unfit as error:
        return disbelieved(outcome, error)
    return outcome


def disbelieved(outcome: Outcome, error: Unfit) -> Outcome:
    """An outcome whose receipt is not to be believed, and why."""
    failure = TABLE[error.met]
    says = f"{failure.says}: {error.detail}"
    return replace(outcome, kind=failure.kind, detail=says, receipt=None, evidence=failure.evidence)
