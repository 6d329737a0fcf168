"""What a receipt must be to be believed, whichever connector read it.

It is for the very bytes that were sent, line by line, for no more than was ordered, and for no other product than that
unless the backend may substitute. Everything else raises `Unfit`, which the table in `workers.erp.failures` turns into
an outcome.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic_core import from_json

from orders.sentences import count
from workers.erp.failures import TABLE, Met, Unfit
from workers.erp.port import ErpReceipt, ErpReceiptLine, Outcome


def verify(receipt: ErpReceipt, body: bytes, digest: bytes, *, substitutes: bool = False, echoed: bool = True) -> None:
    """Raise Unfit unless the receipt is for these canonical bytes, line by line, and for no more than was ordered.

    Where it `substitutes` a line may deliver another product in the place of what was ordered. An ERP that has `echoed`
    no digest is believed by the lines alone.
    """
    if echoed and receipt.digest != digest:
        raise Unfit(Met.WRONG_DIGEST, f"receipt {receipt.reference}")
    ordered = from_json(body)["lines"]
    if len(receipt.lines) != len(ordered):
        raise Unfit(Met.WRONG_LINES, f"{count(len(receipt.lines), 'line')} for {len(ordered)}")
    for number, (line, wanted) in enumerate(zip(receipt.lines, ordered, strict=True), 1):
        if line.line != number or line.product != wanted["product"]:
            raise Unfit(Met.WRONG_LINES, f"line {number} is out of turn or another product")
        if line.accepted < 0 or line.back_ordered < 0 or line.accepted + line.back_ordered > wanted["quantity"]:
            raise Unfit(Met.WRONG_LINES, f"line {number}: {_boxes(line)} of {wanted['quantity']} boxes accepted")
        if line.substitute is not None and not substitutes:
            raise Unfit(Met.WRONG_LINES, f"line {number}: {line.substitute} in the place of {line.product}")


def _boxes(line: ErpReceiptLine) -> str:
    return f"{line.accepted} and {line.back_ordered} later" if line.back_ordered else str(line.accepted)


def believed(outcome: Outcome, body: bytes, digest: bytes, *, substitutes: bool = False, echoed: bool) -> Outcome:
    """An outcome as it is, or SUSPICIOUS when its receipt is not for these canonical bytes: see `verify`."""
    if outcome.receipt is None:
        return outcome
    try:
        verify(outcome.receipt, body, digest, substitutes=substitutes, echoed=echoed)
    except Unfit as error:
        return disbelieved(outcome, error)
    return outcome


def disbelieved(outcome: Outcome, error: Unfit) -> Outcome:
    """An outcome whose receipt is not to be believed, and why."""
    failure = TABLE[error.met]
    says = f"{failure.says}: {error.detail}"
    return replace(outcome, kind=failure.kind, detail=says, receipt=None, evidence=failure.evidence)
