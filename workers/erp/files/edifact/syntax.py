"""EDIFACT interchanges in bytes, and out of them: service characters, release character, character sets, the counts.

pydifact cuts and writes the segments. What it does not look at is looked at here: that an interchange is whole (UNZ,
UNT and their counts and references), and that what is written is within the repertoire that UNB names (ISO 9735:
UNOA has capitals only, UNOB both cases, UNOC is ISO 8859-1, UNOY is UTF-8).
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydifact.control.characters import Characters
from pydifact.exceptions import EDISyntaxError
from pydifact.parser import Parser, TokenIterator
from pydifact.segments import Segment
from pydifact.serializer import Serializer
from pydifact.tokenizer import Tokenizer

from workers.erp.files.verdicts import UnfinishedFile, UnreadableAnswer

CODECS: Final = {
    "UNOD": "iso-8859-2",
    "UNOE": "iso-8859-5",
    "UNOF": "iso-8859-7",
    "UNOG": "iso-8859-3",
    "UNOH": "iso-8859-4",
    "UNOI": "iso-8859-6",
    "UNOJ": "iso-8859-8",
    "UNOK": "iso-8859-9",
    "UNOW": "utf-8",
    "UNOY": "utf-8",
}
LATIN: Final = "iso-8859-1"  # UNOC; and UNOA and UNOB of senders who do not keep to ASCII
LEVEL_A: Final = frozenset(string.ascii_uppercase + string.digits + " .,-()/='+:?!\"%&*;<>")
LEVEL_B: Final = LEVEL_A | frozenset(string.ascii_lowercase)
ADVICE: Final = "UNA:+.? '"
UNA: Final = 9

Element = str | list[str]


@dataclass(slots=True)
class EdifactMessage:
    """One message: its type, and its segments between UNH and UNT, each a tag and its elements."""

    kind: str
    reference: str
    segments: list[list[Element]] = field(default_factory=list)


@dataclass(slots=True)
class EdifactInterchange:
    """One interchange: its control reference, and the decimal mark of its numbers."""

    control: str
    decimal: str
    messages: list[EdifactMessage] = field(default_factory=list)


def part(segment: Sequence[Element], element: int, component: int = 0) -> str:
    """A component of a segment, both counted from 0 after the tag; empty where there is none."""
    if element + 1 >= len(segment):
        return ""
    found = segment[element + 1]
    if isinstance(found, str):
        return found if component == 0 else ""
    return found[component] if component < len(found) else ""


def read_interchanges(data: bytes) -> list[EdifactInterchange]:
    """Every interchange of a file, all whole. Raises UnreadableAnswer, and UnfinishedFile where it breaks off."""
    if not data.strip():
        raise UnfinishedFile("the file is empty")
    text = data.decode(LATIN)
    start = len(text) - len(text.lstrip("\ufeff\u00ef\u00bb\u00bf\r\n\t "))
    text = text[start:]
    if text[:3] not in ("UNA", "UNB"):
        raise UnreadableAnswer("the file does not begin with UNA or UNB")
    found = [*_cut(_recoded(text))]
    if not found:
        raise UnfinishedFile("there is no interchange in the file")
    return found


def write_interchange(segments: Sequence[Sequence[Element]], syntax: str) -> bytes:
    """One interchange as bytes, UNA first. Raises UnicodeEncodeError where `fits` was not asked before."""
    said = [Segment(str(each[0]), *each[1:]) for each in segments]
    text: str = Serializer(Characters.from_str(ADVICE)).serialize(said, with_una_header=True, break_lines=False)
    return text.encode(CODECS.get(syntax, LATIN))


def fits(value: str, syntax: str) -> bool:
    """Whether every character of a value is in the repertoire."""
    if syntax in ("UNOA", "UNOB"):
        return set(value) <= (LEVEL_A if syntax == "UNOA" else LEVEL_B)
    try:
        value.encode(CODECS.get(syntax, LATIN))
    except UnicodeEncodeError:
        return False
    return value.isprintable()


def folded(value: str, syntax: str) -> str:
    """Free text within the repertoire: accents come off, a letter may change its case, what is left is a dot."""
    if fits(value, syntax):
        return value
    plain = "".join(c for c in unicodedata.normalize("NFKD", value) if not unicodedata.combining(c))
    plain = plain.upper() if syntax == "UNOA" else plain
    return "".join(c if fits(c, syntax) else " " if c.isspace() else "." for c in plain)


def _recoded(text: str) -> str:
    """The text by the character set that its UNB names."""
    place = text.find("UNB")
    codec = CODECS.get(text[place + 4 : place + 8]) if place >= 0 else None
    if codec is None:
        return text
    try:
        return text.encode(LATIN).decode(codec)
    except UnicodeDecodeError as error:
        raise UnreadableAnswer(f"byte {error.start + 1} is none of {text[place + 4 : place + 8]}") from None


def _cut(text: str) -> Iterator[EdifactInterchange]:
    characters = Characters.from_str(ADVICE)
    if text.startswith("UNA"):
        if len(text) < UNA:
            raise UnfinishedFile("the file breaks off in UNA")
        characters = Characters.from_str(text[:UNA])
        text = text[UNA:].lstrip("\r\n\t ")
    interchange: EdifactInterchange | None = None
    message: EdifactMessage | None = None
    for segment in _segments(text, characters):
        tag = segment[0]
        if tag == "UNB" and interchange is None:
            interchange = EdifactInterchange(part(segment, 4), characters.decimal_point)
        elif interchange is None or tag == "UNB":
            raise UnreadableAnswer(f"segment {tag} stands where UNB or UNZ must")
        elif tag == "UNZ" and message is None:
            _closes(segment, len(interchange.messages), interchange.control, "UNZ")
            yield interchange
            interchange = None
        elif tag == "UNH" and message is None:
            message = EdifactMessage(part(segment, 1), part(segment, 0))
        elif tag == "UNT" and message is not None:
            _closes(segment, len(message.segments) + 2, message.reference, "UNT")
            interchange.messages.append(message)
            message = None
        elif message is not None and tag not in ("UNH", "UNZ"):
            message.segments.append(segment)
        elif tag not in ("UNG", "UNE"):
            raise UnreadableAnswer(f"segment {tag} stands outside a message")
    if interchange is not None:
        raise UnfinishedFile("the file breaks off before UNZ")


def _segments(text: str, characters: Characters) -> Iterator[list[Element]]:
    """Raises UnreadableAnswer, and UnfinishedFile where the text ends within a segment."""
    try:
        tokens = TokenIterator(Tokenizer().get_tokens(text.rstrip("\r\n\t \x1a\0"), characters))
        for segment in Parser().convert_tokens_to_raw_segments(tokens):
            if not isinstance(segment[0], str) or not segment[0].isalnum():
                raise UnreadableAnswer(f"{str(segment[0])[:20]!r} is no tag of a segment")
            yield segment
    except EDISyntaxError:
        raise UnfinishedFile("the file breaks off within a segment") from None
    except (AssertionError, IndexError, TypeError, ValueError) as error:
        raise UnreadableAnswer(f"the segments cannot be told apart: {type(error).__name__}") from None


def _closes(segment: Sequence[Element], count: int, reference: str, tag: str) -> None:
    if part(segment, 0).lstrip("0") != str(count).lstrip("0") or part(segment, 1) != reference:
        said = f"{part(segment, 0)} of {part(segment, 1)}"
        raise UnreadableAnswer(f"{tag} counts {said}, and there are {count} of {reference}")
