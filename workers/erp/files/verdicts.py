"""What an answer says, whatever its format, and what that means for the very order that was sent.

A CONTRL, or an answer that only says that the order came, is an acknowledgement and decides nothing. An answer that
decides is turned into a receipt here, line by line of the order as it was journalled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Any
from uuid import UUID

from workers.erp.failures import printable
from workers.erp.files.names import control_of
from workers.erp.port import LINES, ErpReceiptLine, Kind


class AnswerDecision(StrEnum):
    """What was decided of an order."""

    RECEIVED = "received"  # that it came, and nothing more
    SYNTAX_REFUSED = "syntax refused"  # the translator could not read it
    REFUSED = "refused"
    ACCEPTED = "accepted"  # line by line, where lines are told


class UnreadableAnswer(Exception):
    """A file, or an answer in it, cannot be read: why."""


class Unwritable(Exception):
    """The format cannot carry an order: why."""


class UnfinishedFile(UnreadableAnswer):
    """A file that may still be written."""


@dataclass(frozen=True, slots=True)
class AnsweredLine:
    """Of one line: boxes accepted (None: as ordered, but for what comes later), boxes that come later and when, what is
    delivered instead.

    `number` is the order's, from 1, None where the answer tells none; `products` are the codes that it names. One that
    was `added` stands in the place of a line that is refused.
    """

    number: int | None
    products: tuple[str, ...] = ()
    accepted: int | None = None
    back_ordered: int = 0
    expected: date | None = None
    substitute: str | None = None
    reason: str | None = None
    added: bool = False


@dataclass(frozen=True, slots=True)
class AnswerSaid:
    """One answer, to the order of an id or, where only that is told, of the interchange that it was in."""

    order: UUID | None
    decision: AnswerDecision
    control: str = ""
    reference: str = ""
    reason: str = ""
    lines: tuple[AnsweredLine, ...] = ()
    rest_accepted: bool = False  # lines that are not told are accepted as ordered

    def key(self) -> str:
        """What names the order's directory."""
        return self.control or (control_of(self.order) if self.order else "")


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: the order's id, its lines as (product, quantity), and the ERP's article for each, if told."""

    id: UUID
    lines: tuple[tuple[str, int], ...]
    articles: tuple[str, ...] = ()
    file: str = ""

    def names_of(self, number: int) -> frozenset[str]:
        """Every code of the product on a line, from 1."""
        article = self.articles[number - 1 : number]
        return frozenset({self.lines[number - 1][0], *article})


@dataclass(slots=True)
class KeptAnswer:
    """What the connector keeps of an answer."""

    kind: str
    detail: str = ""
    reference: str = ""
    lines: list[Any] = field(default_factory=list)
    file: str = ""  # the answer's, as it is archived


def told(verdict: AnswerSaid, sent: Sent) -> KeptAnswer:
    """What an answer means for what was sent. Raises UnreadableAnswer."""
    if verdict.order is not None and verdict.order != sent.id:
        raise UnreadableAnswer(f"order {verdict.order} is another one than was sent under {verdict.key()}")
    reason = printable(verdict.reason)
    if verdict.decision is AnswerDecision.RECEIVED:
        return KeptAnswer(Kind.PENDING, reason)
    if verdict.decision is AnswerDecision.SYNTAX_REFUSED:
        return KeptAnswer(Kind.REFUSED, f"the ERP's translator refuses the file: {reason}")
    lines = () if verdict.decision is AnswerDecision.REFUSED else _lines(verdict, sent)
    if verdict.decision is AnswerDecision.REFUSED or not any(_comes(each) for each in lines):
        return KeptAnswer(Kind.REFUSED, f"the ERP refuses the order: {reason or _reasons(verdict.lines)}")
    return KeptAnswer(Kind.ACCEPTED, "", verdict.reference or sent.file, LINES.dump_python(lines, mode="json"))


def _lines(verdict: AnswerSaid, sent: Sent) -> tuple[ErpReceiptLine, ...]:
    found = _matched(verdict.lines, sent)
    if len(found) < len(sent.lines) and not verdict.rest_accepted:
        missing = next(number for number in range(1, len(sent.lines) + 1) if number not in found)
        raise UnreadableAnswer(f"order {sent.id}: nothing is said of line {missing}")
    return tuple(
        _line(number, product, quantity, found.get(number, AnsweredLine(number)), sent.names_of(number))
        for number, (product, quantity) in enumerate(sent.lines, 1)
    )


def _matched(lines: Sequence[AnsweredLine], sent: Sent) -> Mapping[int, AnsweredLine]:
    """The verdict of each line, by its number or, where none is told, by its product. Raises UnreadableAnswer."""
    found: dict[int, AnsweredLine] = {}
    for each in lines:
        number = each.number
        if number is None:
            named = (n for n in range(1, len(sent.lines) + 1) if sent.names_of(n) & {*each.products})
            number = next(named, None)
        if number is None or not 1 <= number <= len(sent.lines):
            what = f"line {each.number}" if each.number is not None else f"product {', '.join(each.products)}"
            raise UnreadableAnswer(f"order {sent.id} has no {printable(what)}")
        found[number] = _instead(found[number], each, number, sent) if number in found else each
    return found


def _instead(one: AnsweredLine, other: AnsweredLine, number: int, sent: Sent) -> AnsweredLine:
    """The line that was added in the place of one that is refused. Raises UnreadableAnswer where they are not such."""
    added, refused = (one, other) if one.added else (other, one)
    if not added.added or refused.added or added.substitute is None or refused.accepted != 0:
        raise UnreadableAnswer(f"order {sent.id}: line {number} is answered twice")
    return replace(added, reason=added.reason or refused.reason)


def _line(number: int, product: str, quantity: int, said: AnsweredLine, names: frozenset[str]) -> ErpReceiptLine:
    """A line of the receipt; another product than was ordered is told as such, and judged where receipts are."""
    other = said.substitute or next(iter(said.products if not names & {*said.products} else ()), None)
    other = None if other in names else other
    accepted = max(0, quantity - said.back_ordered) if said.accepted is None else said.accepted
    reason = printable(said.reason or "") or None
    return ErpReceiptLine(number, product, accepted, reason, other, said.back_ordered, said.expected)


def _comes(line: ErpReceiptLine) -> bool:
    return line.accepted > 0 or line.back_ordered > 0


def _reasons(lines: Sequence[AnsweredLine]) -> str:
    reasons = dict.fromkeys(printable(each.reason) for each in lines if each.reason)
    return "; ".join(reasons) or "no reason is given"
