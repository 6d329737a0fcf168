"""A file or pipe, line by line as it comes, in memory that does not grow with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

LIMIT: Final = 2 * 1024 * 1024  # bytes of a line; the intake takes no larger body
CHUNK: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class FileLine:
    """One order of the file: its line's number from 1, the bytes that it takes up, its text or why it has none."""

    number: int
    size: int
    text: bytes | None
    fault: str = ""


class Unusable(Exception):
    """What the file is, and what is to be done with it: no order can be read from it as it is."""


def chunks_of(descriptor: int) -> Iterator[bytes]:
    """What an open file or pipe holds, as it comes."""
    while chunk := os.read(descriptor, CHUNK):
        yield chunk


def lines_of(chunks: Iterable[bytes]) -> Iterator[list[FileLine]]:
    """The lines, those of a chunk together; blank ones are counted and left out."""
    number, rest, dropped = 0, b"", 0
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        found = []
        for text in whole:
            number += 1
            found.append(_line(number, text, dropped))
            dropped = 0
        if len(rest) > LIMIT:
            dropped, rest = dropped + len(rest), b""
        yield [line for line in found if line.text != b""]
    if rest.strip() or dropped:
        yield [_line(number + 1, rest, dropped)]


def _line(number: int, text: bytes, dropped: int) -> FileLine:
    size = dropped + len(text) + 1
    if size > LIMIT:
        return FileLine(number, size, None, f"longer than {LIMIT} bytes")
    return FileLine(number, size, text.strip())
