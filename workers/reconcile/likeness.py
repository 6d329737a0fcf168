"""Whether what an ERP tells of an order now is what it told when it acknowledged it.

Our receipt has the substitutes by the codes that orders have, as far as the mapping knew them then; the ERP tells its
articles. So an article is the same as any product that was ever mapped to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date

from sqlalchemy.ext.asyncio import AsyncConnection

from orders.queries import mappings
from orders.sentences import Code, Sentence
from workers.erp.port import LINES, ErpReceipt, ErpReceiptLine, Outcome

Names = Mapping[str, Collection[str]]  # by article


async def names_of(connection: AsyncConnection, backend: str, told: Iterable[Outcome]) -> Names:
    """What orders ever called the articles that the ERP now tells in the place of others."""
    lines = (line for each in told if each.receipt is not None for line in each.receipt.lines)
    articles = {line.substitute for line in lines if line.substitute is not None}
    return await mappings.names_ever(connection, backend, [*articles]) if articles else {}


def unlike(reference: str, lines: str, receipt: ErpReceipt, names: Names) -> Sentence | None:
    """How a receipt, good in itself, is another than the one that we hold, with its reference and its lines as the
    journal has them; None when it is the same.
    """
    if receipt.reference != reference:
        return Sentence(Code.OTHER_REFERENCE, reference=receipt.reference, was=reference)
    before = {line.line: line for line in LINES.validate_json(lines)}
    for line in receipt.lines:
        was = before.get(line.line)
        if changed := _unlike_line(was, _as_held(was, line, names)):
            return changed
    if len(before) == len(receipt.lines):
        return None
    return Sentence(Code.OTHER_LINES, count=len(receipt.lines), were=len(before))


def _as_held(was: ErpReceiptLine | None, line: ErpReceiptLine, names: Names) -> ErpReceiptLine:
    """A line with its article called as our receipt calls it, where that is one of its names."""
    product = was and (was.substitute or was.product)
    if was is None or line.substitute is None or product not in names.get(line.substitute, ()):
        return line
    return replace(line, substitute=was.substitute)


def _unlike_line(was: ErpReceiptLine | None, line: ErpReceiptLine) -> Sentence | None:
    now = {"line": line.line, "count": line.accepted, "product": line.substitute or line.product}
    if was is None:
        return Sentence(Code.NEW_LINE, **now)
    product = was.substitute or was.product
    if (was.product, product, was.accepted) != (line.product, now["product"], line.accepted):
        return Sentence(Code.OTHER_LINE, **now, was=was.accepted, was_product=product)
    if (was.back_ordered, was.expected) == (line.back_ordered, line.expected):
        return None
    days = {"expected": _day(line.expected), "was_expected": _day(was.expected)}
    return Sentence(Code.OTHER_BACK_ORDER, line=line.line, count=line.back_ordered, was=was.back_ordered, **days)


def _day(expected: date | None) -> Sentence:
    return Sentence(Code.EXPECTED, day=expected.isoformat()) if expected else Sentence(Code.NO_DAY)
