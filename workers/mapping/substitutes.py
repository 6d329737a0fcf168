"""What an ERP delivers in a product's place, told by the code that orders have.

An ERP names its own article; where the mapping has no product for it, or several, its code stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from orders.journal import insist
from workers.erp.port import ErpReceiptLine, Outcome
from workers.mapping.current_mapping import CurrentMapping


async def in_our_codes(
    outcomes: Mapping[UUID, Outcome], mapping: CurrentMapping | None, remaining: float
) -> dict[UUID, Outcome]:
    """The outcomes with the substitutes of their receipts named so; one that is the product itself is none.

    The mapping is renewed for them, for `remaining` seconds where the journal is away. Raises what the journal raises.
    """
    articles = {line.substitute for each in outcomes.values() for line in _lines(each) if line.substitute is not None}
    if not articles or mapping is None:
        return {**outcomes}
    await insist(mapping.renew, remaining)
    known = mapping.products(articles)
    return {order_id: _named(each, known) for order_id, each in outcomes.items()}


def _lines(outcome: Outcome) -> tuple[ErpReceiptLine, ...]:
    return outcome.receipt.lines if outcome.receipt is not None else ()


def _named(outcome: Outcome, known: Mapping[str, str]) -> Outcome:
    if outcome.receipt is None:
        return outcome
    lines = tuple(_line(each, known) for each in outcome.receipt.lines)
    return replace(outcome, receipt=replace(outcome.receipt, lines=lines))


def _line(line: ErpReceiptLine, known: Mapping[str, str]) -> ErpReceiptLine:
    if line.substitute is None or line.substitute not in known:
        return line
    product = known[line.substitute]
    return replace(line, substitute=None if product == line.product else product)
