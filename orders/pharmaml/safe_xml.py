"""Foreign XML, read without trust: bounded in size and depth, no DTD, so no entities, nothing fetched.

The bytes are decoded here, strictly, before a parser sees them: a message is UTF-8 or ISO-8859-1, says which, and is
what it says. Expat reads it: it keeps nothing of a message longer than its parser lives, and that is no longer than
`read`. libxml2, which writes answers, keeps every name that it ever read in a thread, and lxml's parsers wait for the
garbage collector.
"""

from __future__ import annotations

import codecs
import re
from typing import Final, NoReturn, cast
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from lxml import etree

from orders.pharmaml.messages import NotUnderstood, Statut
from orders.pharmaml.pieces import Pieces

MOST_BYTES: Final = 1024 * 1024
DEEPEST: Final = 32  # elements within each other; an order needs 7
MOST_ELEMENTS: Final = 12_000  # a message has at most 10,000 lines
MOST_ATTRIBUTES: Final = 32  # of an element; a line has 9
MOST_NAMES: Final = 256  # of elements and attributes; the protocol has some 60
MOST_NAMESPACES: Final = 64  # declarations of one
SLICE: Final = 4 * 1024  # characters that are read at once, some 0.2 ms
LONGEST_TAG: Final = 16 * 1024  # characters, comments of an order among them
ENCODINGS: Final = {"utf-8": "UTF-8", "iso8859-1": "ISO-8859-1", "ascii": "UTF-8"}  # by Python's name

_DECLARED: Final = re.compile(rb"""<\?xml\s[^>]{0,100}?encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]{0,40})["']""")
_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?([A-Za-z][A-Za-z0-9._-]{0,40})""", re.IGNORECASE)
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def encoding_of(raw: bytes, content_type: str | None) -> str:
    """UTF-8 or ISO-8859-1: by the byte order mark, else the XML declaration, else HTTP's charset, else UTF-8.

    The declaration goes before HTTP's charset, other than in RFC 7303: whoever wrote the text wrote the declaration,
    while the header is often a library's default. Raises NotUnderstood for any other encoding.
    """
    if raw.startswith(codecs.BOM_UTF8):
        return "UTF-8"
    if found := _DECLARED.match(raw[:200]):
        name = found[1].decode()
    elif content_type is not None and (charset := _CHARSET.search(content_type)):
        name = charset[1]
    else:
        return "UTF-8"
    try:
        return ENCODINGS[codecs.lookup(name).name]
    except (LookupError, ValueError):
        raise NotUnderstood(Statut.ENVELOPE, f"Encodage {name} non pris en charge : UTF-8 ou ISO-8859-1") from None


def read(raw: bytes, encoding: str) -> Pieces[Element]:
    """The root of the document; comments and processing instructions are left out. Raises NotUnderstood.

    In pieces of SLICE.
    """
    if len(raw) > MOST_BYTES:
        raise NotUnderstood(Statut.ENVELOPE, f"Message de plus de {MOST_BYTES} octets")
    try:
        text = raw.decode("utf-8-sig" if encoding == "UTF-8" else encoding)
    except UnicodeDecodeError:
        raise NotUnderstood(Statut.ENVELOPE, f"Le message n'est pas en {encoding}") from None
    if "<!DOCTYPE" in text:  # before a parser sees it; XML knows no other writing of it
        raise NotUnderstood(Statut.ENVELOPE, "DOCTYPE interdit")
    if text.count("xmlns") > MOST_NAMESPACES:  # before a parser keeps them all at once
        raise _too_many_names()
    parser, tags = XMLParser(target=_Guard()), _Tags()
    try:
        for at in range(0, len(text), SLICE):  # expat goes on to the end of what it was fed, whatever its target raised
            yield
            piece = text[at : at + SLICE]
            tags.add(piece)
            parser.feed(piece)
        root: Element = parser.close()
    except ParseError as error:
        raise NotUnderstood(Statut.ENVELOPE, f"XML mal formé (ligne {error.position[0]})") from None
    return root


def write(root: etree._Element, encoding: str) -> bytes:
    """The document; what ISO-8859-1 lacks becomes a character reference."""
    declaration = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    body = cast("bytes", etree.tostring(root, encoding=encoding, xml_declaration=False))
    return declaration.encode() + body


def writable(words: str) -> str:
    """Words that XML can hold, in one line: whatever else becomes a space."""
    return " ".join(_FORBIDDEN.sub(" ", words).split())


class _Tags:
    """How long the tag is that is not closed yet: a parser keeps it whole, and looks through it again and again."""

    def __init__(self) -> None:
        self._open: int | None = None  # characters of it so far

    def add(self, piece: str) -> None:
        ends = [at for at in (piece.find("<"), piece.find(">")) if at >= 0]
        if self._open is not None and self._open + min(ends, default=len(piece)) > LONGEST_TAG:
            raise _too_many_names()
        start, end = piece.rfind("<"), piece.rfind(">")
        if start > end:
            self._open = len(piece) - start
        elif ends:
            self._open = None
        elif self._open is not None:
            self._open += len(piece)


class _Guard:
    """A parser's target that builds the tree as long as it is within bounds."""

    def __init__(self) -> None:
        self._builder = TreeBuilder()
        self.data, self.close = self._builder.data, self._builder.close
        self._depth = self._count = 0
        self._names: set[str] = set()

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._count += 1
        if self._count > MOST_ELEMENTS:
            _refuse(f"Plus de {MOST_ELEMENTS} éléments")
        if self._depth > DEEPEST:
            _refuse(f"Plus de {DEEPEST} niveaux d'éléments")
        if len(attributes) > MOST_ATTRIBUTES:
            _refuse(f"Plus de {MOST_ATTRIBUTES} attributs")
        self._names.add(tag)
        self._names.update(attributes)
        if len(self._names) > MOST_NAMES:
            _refuse(f"Plus de {MOST_NAMES} noms")
        self._builder.start(tag, attributes)

    def end(self, tag: str) -> None:
        self._depth -= 1
        self._builder.end(tag)


def _too_many_names() -> NotUnderstood:
    return NotUnderstood(Statut.ENVELOPE, "Trop de noms dans un élément")


def _refuse(words: str) -> NoReturn:
    raise NotUnderstood(Statut.ENVELOPE, words)
