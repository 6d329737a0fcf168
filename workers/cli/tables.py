"""How rows are laid out: columns side by side where they fit, else a row's fields one below the other.

No word is ever cut: columns wrap between words, and where the longest words of all columns do not fit beside each
other, the narrow form stands in. What is wider than the terminal all by itself is left to the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Final, NamedTuple

GAP: Final = "  "


class Cell(NamedTuple):
    """A value as text, and whether it stands to the right."""

    text: str
    right: bool = False


def table(headings: Sequence[str], rows: Sequence[Sequence[Cell]], width: int) -> list[str]:
    """The lines, the headings first; in the narrow form the headings stand before their values."""
    longest = [_most(map(_longest, column)) for column in _columns(headings, rows)]
    room = width - len(GAP) * (len(headings) - 1)
    if sum(longest) > room:
        return narrow(headings, rows, width)
    natural = [_most(map(len, column)) for column in _columns(headings, rows)]
    widths = _shared(longest, natural, room)
    heads = [Cell(heading, bool(rows) and all(row[at].right for row in rows)) for at, heading in enumerate(headings)]
    return [line for row in (heads, *rows) for line in _side_by_side(row, widths)]


def narrow(names: Sequence[str], rows: Sequence[Sequence[Cell]], width: int) -> list[str]:
    """Each row's fields one below the other, those without a value left out, an empty line between two rows."""
    lines = [_below(names, row, width) for row in rows]
    return [line for each in lines for line in (*each, "")][:-1]


def _below(names: Sequence[str], row: Sequence[Cell], width: int) -> list[str]:
    most, lines = max(map(len, names)), []
    for name, cell in zip(names, row, strict=True):
        first, *more = _wrapped(cell.text, max(20, width - most - len(GAP)))
        if cell.text:
            lines += [f"{name:{most}}{GAP}{first}", *(f"{'':{most}}{GAP}{each}" for each in more)]
    return lines


def _side_by_side(row: Sequence[Cell], widths: Sequence[int]) -> list[str]:
    wrapped = [_wrapped(cell.text, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for parts in zip_longest(*wrapped, fillvalue=""):
        placed = [
            part.rjust(width) if cell.right else part.ljust(width)
            for cell, part, width in zip(row, parts, widths, strict=True)
        ]
        lines.append(GAP.join(placed).rstrip())
    return lines


def _columns(headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[list[str]]:
    return [[heading, *(row[at].text for row in rows)] for at, heading in enumerate(headings)]


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, max(1, width), break_long_words=False, break_on_hyphens=False) or [""]


def _longest(text: str) -> int:
    return _most(map(len, text.split()))


def _most(sizes: Iterable[int]) -> int:
    return max(sizes, default=0)


def _shared(least: Sequence[int], natural: Sequence[int], room: int) -> list[int]:
    """What each column gets: its longest word at least, and a fair share of what is left, as far as it needs it."""
    widths, left = [*least], room - sum(least)
    short = sorted(range(len(widths)), key=lambda at: natural[at] - least[at])
    for number, at in enumerate(short):
        more = min(natural[at] - least[at], left // (len(short) - number))
        widths[at], left = widths[at] + more, left - more
    return widths
