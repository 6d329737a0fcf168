"""What CONTRL and ORDRSP say, of any directory from D.93A on.

CONTRL is about syntax: it never delivers an order, and refuses one only where the translator could not read it. Its
code 26 is no refusal: the interchange came before, and what was said of it then counts. ORDRSP decides, as a whole
(BGM) or line by line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from workers.erp.files.edifact.lines import line_of, text_of
from workers.erp.files.edifact.syntax import EdifactInterchange, EdifactMessage, Element, part, read_interchanges
from workers.erp.files.names import id_in
from workers.erp.files.verdicts import AnswerDecision, AnswerSaid, UnreadableAnswer

DUPLICATE: Final = "26"  # 0085: the interchange came before
REFUSES: Final = "4"  # 0083
ACTION: Final = {"UCI": 3, "UCM": 2}  # the element that is 0083
ERROR: Final = {"UCI": 4, "UCM": 3, "UCS": 1, "UCD": 0}  # and 0085
WHOLE_ACCEPTED: Final = ("AP", "29")  # 4343, 1225: accepted without amendment
WHOLE_REFUSED: Final = ("RE", "27")
ONLY_CHANGES: Final = ("AI", "AD")  # lines that are not told are as ordered
ONLY_RECEIVED: Final = ("AB",)


def read_edifact(data: bytes, back_ordered: str) -> list[AnswerSaid]:
    """The answers in a file; messages of other kinds are none. Raises UnreadableAnswer."""
    return [verdict for interchange in read_interchanges(data) for verdict in _of(interchange, back_ordered)]


def _of(interchange: EdifactInterchange, back_ordered: str) -> Iterator[AnswerSaid]:
    for message in interchange.messages:
        if message.kind == "CONTRL":
            yield from _contrl(message)
        elif message.kind == "ORDRSP":
            yield _ordrsp(message, interchange.decimal, back_ordered)
        else:
            raise UnreadableAnswer(f"{message.kind or 'a message without a type'} is neither CONTRL nor ORDRSP")


def _contrl(message: EdifactMessage) -> Iterator[AnswerSaid]:
    """What is said of one interchange of ours, which has one message."""
    about = next((each for each in message.segments if each[0] == "UCI"), None)
    if about is None:
        raise UnreadableAnswer("CONTRL has no UCI")
    control = part(about, 0)
    refused = any(part(each, ACTION[str(each[0])]) == REFUSES for each in message.segments if each[0] in ACTION)
    if not refused or part(about, 4) == DUPLICATE:
        said = "came before" if part(about, 4) == DUPLICATE else "the syntax is acknowledged"
        yield AnswerSaid(None, AnswerDecision.RECEIVED, control, reason=said)
        return
    codes = [_error(each) for each in message.segments if each[0] in ERROR and _error(each)]
    yield AnswerSaid(
        None, AnswerDecision.SYNTAX_REFUSED, control, reason=", ".join(codes) or "no code of an error is given"
    )


def _error(segment: Sequence[Element]) -> str:
    """A syntax error (0085) and where it is, in words."""
    code = part(segment, ERROR[str(segment[0])])
    where = f" in segment {part(segment, 0)}" if segment[0] == "UCS" else ""
    return f"{segment[0]} error {code}{where}" if code else ""


def _ordrsp(message: EdifactMessage, decimal: str, back_ordered: str) -> AnswerSaid:
    head, lines = _groups(message.segments)
    bgm = next((each for each in head if each[0] == "BGM"), None)
    number = _reference(head, "ON")
    order = id_in(number)
    if bgm is None or order is None:
        raise UnreadableAnswer(f"ORDRSP is for order {number[:40]!r}, which is no number that we give")
    said = {part(bgm, 2), part(bgm, 3)} - {""}
    reason = " ".join(text for each in head if each[0] == "FTX" for text in text_of(each))
    reference = _reference(head, "VN") or part(bgm, 1)
    told = tuple(line_of(each, decimal, back_ordered) for each in lines)
    decision = AnswerDecision.ACCEPTED
    if said & {*WHOLE_REFUSED}:
        decision = AnswerDecision.REFUSED
    elif said & {*ONLY_RECEIVED} and not told:
        decision, reason = AnswerDecision.RECEIVED, "the ERP says that it came"
    elif not told and not said & {*WHOLE_ACCEPTED, *ONLY_CHANGES}:
        raise UnreadableAnswer(f"ORDRSP for order {number} decides nothing: neither as a whole nor by line")
    rest = bool(said & {*WHOLE_ACCEPTED, *ONLY_CHANGES})
    return AnswerSaid(order, decision, reference=reference, reason=reason, lines=told, rest_accepted=rest)


def _groups(segments: Sequence[Sequence[Element]]) -> tuple[list[Sequence[Element]], list[list[Sequence[Element]]]]:
    """The segments before the first LIN, and those of each line."""
    head: list[Sequence[Element]] = []
    lines: list[list[Sequence[Element]]] = []
    for segment in segments:
        if segment[0] == "UNS":
            break
        if segment[0] == "LIN":
            lines.append([])
        (lines[-1] if lines else head).append(segment)
    return head, lines


def _reference(segments: Sequence[Sequence[Element]], qualifier: str) -> str:
    return next((part(each, 0, 1) for each in segments if each[0] == "RFF" and part(each, 0) == qualifier), "")
