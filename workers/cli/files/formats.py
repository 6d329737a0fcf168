"""What a file of orders is: NDJSON, or CSV with a header, each also packed by gzip and with a byte order mark.

Anything else is told once, with what is to be done, before a single order of it is handed over.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final

from workers.cli.files.apart import standing_apart
from workers.cli.files.lines import CHUNK, LIMIT, FileLine, Unusable, chunks_of, lines_of
from workers.cli.files.rows import Header, beginnings, header_of, orders_of_rows

BOM: Final = b"\xef\xbb\xbf"
GZIP: Final = b"\x1f\x8b"
AS_GZIP: Final = 31  # of zlib's wbits

UTF_16: Final = (
    "UTF-16 text, as some programs save it: save it as UTF-8 (`iconv -f UTF-16 -t UTF-8 FILE | relais submit -`)"
)
NO_TEXT: Final = "a ZIP archive or a workbook: save its sheet as CSV in UTF-8, with a header"
XML: Final = "XML: PharmaML goes to the intake's /pharmaml, and this takes NDJSON or CSV"
ARRAY: Final = "one JSON array, and one order a line is needed (`jq -c '.[]' FILE | relais submit -`)"
PRETTY: Final = "JSON over several lines, and one order a line is needed (`jq -c . FILE | relais submit -`)"
CUT_OFF: Final = "the gzip data is damaged or cut off"


@dataclass(slots=True)
class OrdersFile:
    """An open file or pipe: its orders as they come, how many bytes were read, and of how much text that was."""

    descriptor: int
    read: int = 0
    text: int = 0
    taken_as: list[str] = field(default_factory=list)  # what it is, where that is not NDJSON as it stands

    def __iter__(self) -> Iterator[list[FileLine]]:
        """The orders, those that came together in a list. Raises Unusable, and OSError."""
        start = _place(self.descriptor)
        header, lines = self._lines()
        if header is None:
            return lines
        self.taken_as.append(f"CSV, {header.told}")
        apart: Mapping[tuple[str, str], str] = {}
        if start is not None:
            now = _place(self.descriptor)
            apart = standing_apart(partial(self._beginnings, start, header))
            os.lseek(self.descriptor, now or start, os.SEEK_SET)
        return orders_of_rows(lines, header, apart)

    def _beginnings(self, start: int, header: Header) -> Iterator[tuple[int, tuple[str, str]]]:
        """Where orders begin, looked through from the start as another reader would."""
        os.lseek(self.descriptor, start, os.SEEK_SET)
        return beginnings(OrdersFile(self.descriptor)._lines()[1], header)

    def _lines(self) -> tuple[Header | None, Iterator[list[FileLine]]]:
        head, chunks = _beginning(self._unpacked(self._raw()))
        header = format_of(head)
        return header, lines_of(_without_mark(chunks) if head.startswith(BOM) else chunks)

    def _raw(self) -> Iterator[bytes]:
        for chunk in chunks_of(self.descriptor):
            self.read += len(chunk)
            yield chunk

    def _unpacked(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        first = next(chunks, b"")
        whole: Iterator[bytes] = chain((first,), chunks)
        if first.startswith(GZIP):
            self.taken_as.append("gzip")
            whole = unzipped(whole)
        for chunk in whole:
            self.text += len(chunk)
            yield chunk


def _place(descriptor: int) -> int | None:
    """Where a file is read; None for a pipe, which cannot be looked through first."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:
        return None


def unzipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """What gzip has packed, a bounded piece at a time. Raises OSError where it is damaged or cut off."""
    inflate = zlib.decompressobj(AS_GZIP)
    try:
        for packed in chunks:
            data = packed
            while data:
                if inflate.eof:  # one file behind another, as `cat` makes it
                    inflate = zlib.decompressobj(AS_GZIP)
                yield inflate.decompress(data, CHUNK)
                data = inflate.unused_data.lstrip(b"\0") if inflate.eof else inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error:
        raise OSError(CUT_OFF) from None
    if not inflate.eof:
        raise OSError(CUT_OFF)


def format_of(head: bytes) -> Header | None:
    """What begins so: the header of a CSV, None for one JSON order a line. Raises Unusable for anything else."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:4]:
        raise Unusable(UTF_16)
    if head.startswith(b"PK\x03\x04"):
        raise Unusable(NO_TEXT)
    first, second, *_ = [*_lines(head), b"", b""]
    if first.startswith(b"<"):
        raise Unusable(XML)
    if first.startswith(b"["):
        raise Unusable(ARRAY)
    if first == b"{":
        raise Unusable(PRETTY)
    return None if first.startswith(b"{") else header_of(first, second)


def _beginning(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Enough to know what it is: the first line, and the second where the first is no JSON; and all, from there on."""
    head = b""
    for chunk in chunks:
        head += chunk
        whole = _lines(head[: head.rfind(b"\n") + 1])
        if len(whole) > 1 or (whole and whole[0].startswith(b"{")) or len(head) > LIMIT:
            break
    return head, chain((head,), chunks)


def _lines(head: bytes) -> list[bytes]:
    return [line for each in head.removeprefix(BOM).split(b"\n")[:100] if (line := each.strip())]


def _without_mark(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield next(chunks).removeprefix(BOM)
    yield from chunks
