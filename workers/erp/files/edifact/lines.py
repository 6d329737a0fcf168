"""What ORDRSP says of a line: by the action of LIN (1229), and by what QTY counts.

What is in a product's place, and what comes later, is told by the qualifiers of PIA (4347), QTY (6063) and DTM (2005),
as the code lists of UN/EDIFACT D.96A have them; 506 is of later directories.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from workers.erp.files.edifact.syntax import Element, part
from workers.erp.files.verdicts import AnsweredLine, UnreadableAnswer

ADDED: Final = "1"  # 1229
NOT_ACCEPTED: Final = ("2", "7")  # deleted, not accepted
AMENDED: Final = ("3", "6", "24")  # changed, accepted with amendment, and without need of a confirmation
AS_ORDERED: Final = ("5",)  # accepted without amendment
KNOWN: Final = ("", "4", ADDED, *NOT_ACCEPTED, *AMENDED, *AS_ORDERED)
TO_BE_DELIVERED: Final = ("113", "12")  # 6063 of what counts as accepted, the first that is there
ORDERED: Final = "21"  # of which what comes later is a part
EXPECTED: Final = ("506", "69", "67", "17", "76", "44", "2")  # 2005: when the rest comes, the first that is there
ITSELF, SUBSTITUTED_BY, SUBSTITUTED_FOR = ("", "1", "5"), "3", "4"  # 4347
CIP: Final = "EN"  # 7143: what stands in an EAN's place
FORMATS: Final = {"101": "%y%m%d", "102": "%Y%m%d", "203": "%Y%m%d%H%M", "204": "%Y%m%d%H%M%S", "718": "%Y%m%d"}


def line_of(segments: Sequence[Sequence[Element]], decimal: str, back_ordered: str) -> AnsweredLine:
    """What is said of a line, by its segments from LIN on; `back_ordered` is the qualifier of what comes later. Raises
    UnreadableAnswer.
    """
    lin = segments[0]
    number, action = part(lin, 0), part(lin, 1)
    if not (number.isascii() and number.isdigit()) and number:
        raise UnreadableAnswer(f"LIN has the number {number[:20]!r}")
    if action not in KNOWN:
        raise UnreadableAnswer(f"line {number}: action {action[:3]!r} of LIN is none that is known")
    counts = {
        part(each, 0): _boxes(part(each, 0, 1), decimal, number)
        for each in segments
        if each[0] == "QTY" and part(each, 0) in (*TO_BE_DELIVERED, ORDERED, back_ordered)
    }
    later = counts.get(back_ordered, 0) if back_ordered and action not in NOT_ACCEPTED else 0
    products, substitute = _products(segments)
    return AnsweredLine(
        int(number) if number and action != ADDED else None,
        products,
        _accepted(action, counts, later, number, changed=later > 0 or substitute is not None),
        later,
        _expected(segments) if later else None,
        substitute,
        " ".join(text for each in segments if each[0] == "FTX" for text in text_of(each)) or None,
        added=action == ADDED,
    )


def _accepted(action: str, counts: dict[str, int], later: int, number: str, *, changed: bool) -> int | None:
    """Boxes; None: as ordered, but for what comes later. Raises UnreadableAnswer where an amendment tells neither a
    number nor what else is `changed`.
    """
    if action in NOT_ACCEPTED:
        return 0
    found = next((counts[each] for each in TO_BE_DELIVERED if each in counts), None)
    if found is None and ORDERED in counts:
        found = max(0, counts[ORDERED] - later)
    if found is None and action in AMENDED and not changed:
        raise UnreadableAnswer(f"line {number} is amended, and no quantity is told")
    return found


def _products(segments: Sequence[Sequence[Element]]) -> tuple[tuple[str, ...], str | None]:
    """The codes of what was ordered by which a line says what it is about, and that of what is in its place.

    Where LIN is the substitute, PIA names what it is substituted for.
    """
    own = [(part(segments[0], 2), part(segments[0], 2, 1)), *_codes(segments, *ITSELF)]
    own = [each for each in own if each[0]]
    if original := _codes(segments, SUBSTITUTED_FOR):
        return tuple(code for code, _ in original), _first(own)
    return tuple(code for code, _ in own), _first(_codes(segments, SUBSTITUTED_BY))


def _codes(segments: Sequence[Sequence[Element]], *qualifiers: str) -> list[tuple[str, str]]:
    """Codes of products and of which kind each is, of the PIA with these qualifiers."""
    found = [each for each in segments if each[0] == "PIA" and part(each, 0) in qualifiers]
    codes = ((part(each, place), part(each, place, 1)) for each in found for place in range(1, 6))
    return [each for each in codes if each[0]]


def _first(codes: Sequence[tuple[str, str]]) -> str | None:
    """One of the codes of a product: that of the trade, else the first."""
    return next((code for code, kind in codes if kind == CIP), codes[0][0] if codes else None)


def _boxes(value: str, decimal: str, number: str) -> int:
    """Whole boxes; the mark is UNA's, or a point. Raises UnreadableAnswer."""
    with suppress(InvalidOperation):
        count = Decimal(value.replace(decimal, "."))
        if count == count.to_integral_value() and 0 <= count <= 10**7:
            return int(count)
    raise UnreadableAnswer(f"line {number}: {value[:20]!r} is no number of boxes")


def _expected(segments: Sequence[Sequence[Element]]) -> date | None:
    """The day on which what comes later is delivered, by the date that says so most plainly; the last of a period."""
    told = {part(each, 0): each for each in reversed(segments) if each[0] == "DTM"}
    for each in (told[qualifier] for qualifier in EXPECTED if qualifier in told):
        with suppress(ValueError, KeyError):
            last = part(each, 0, 1).rpartition("-")[2]
            return datetime.strptime(last, FORMATS[part(each, 0, 2) or "102"]).date()
    return None


def text_of(segment: Sequence[Element]) -> list[str]:
    """The free text of an FTX."""
    found = segment[4] if len(segment) > 4 else ""
    return [each for each in ([found] if isinstance(found, str) else found) if each]
