"""Orders of a CSV whose rows do not stand together, found before anything is handed over, in memory of a fixed size.

Handed over as they come, the first of such rows would be an order with lines less than was meant, and the rest another
one of the same reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

Key = tuple[str, str]  # pharmacy and reference
Begins = Iterator[tuple[int, Key]]  # the line at which an order's rows begin, and whose they are

PLACES: Final = 2**26  # bits, 8 MiB: of 200,000 orders a few hundred share a place, and are told apart by a second look


def standing_apart(begins: Callable[[], Begins]) -> Mapping[Key, str]:
    """Of each order that begins more than once, where; `begins` reads the file from its start."""
    seen, again = bytearray(PLACES // 8), set[int]()
    for _, key in begins():
        place = hash(key) % PLACES
        if seen[place >> 3] & 1 << (place & 7):
            again.add(place)
        seen[place >> 3] |= 1 << (place & 7)
    if not again:
        return {}
    found: dict[Key, list[int]] = {}
    for number, key in begins():
        if hash(key) % PLACES in again:
            found.setdefault(key, []).append(number)
    return {key: _told(lines) for key, lines in found.items() if len(lines) > 1}


def _told(lines: list[int]) -> str:
    return f"its rows do not stand together (lines {lines[0]} and {lines[1]}): sort the file by pharmacy and reference"
