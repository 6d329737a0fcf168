"""The console's French: one word for each notion, as the glossary has it, and punctuation as French has it."""

import re
from collections.abc import Iterable, Iterator
from functools import cache

import pytest
from babel.messages.pofile import read_po

from tests.machines.tools import ROOT

FRENCH = ROOT / "workers" / "console" / "locale" / "fr"
ROW = re.compile(r"^\| (?!English)(?!---)([^|]+) \| ([^|]+) \| ", re.MULTILINE)
HIGH = re.compile(r"(?<!\u202f)([;?!»]|:(?!\S))|«(?!\u202f)")  # without a narrow no-break space
ENGLISH = re.compile(
    r"\b(the|is|are|was|were|of|and|not|by|has|have|had|with|this|that|it|its|from|which|no|since|been|be|to|in|at)\b"
)
RETIRED = re.compile(r"\b(vidage|vider|relanc\w+|reten\w+|sceaux?|étapes?|actes?|réserve|backend)\b", re.IGNORECASE)


def said() -> Iterator[tuple[str, str]]:
    """What is said in English, and in French; each form of a plural."""
    for file in FRENCH.glob("*.po"):
        with file.open("rb") as source:
            for message in read_po(source, locale="fr"):
                if message.id:
                    ids = [message.id] if isinstance(message.id, str) else list(message.id)
                    strings = [message.string] if isinstance(message.string, str) else list(message.string)
                    yield from zip(ids, strings, strict=True)


@cache
def translated() -> frozenset[str]:
    """The messages that French says otherwise."""
    return frozenset(one for one, other in said() if one != other)


def english(told: Iterable[str]) -> list[str]:
    """What is English still of what a page in French tells: a message of the catalogue's, or a line with its small
    words.
    """
    return sorted({each for each in told if each in translated() or len(set(ENGLISH.findall(each))) > 1})


def words(cell: str) -> re.Pattern[str]:
    """Any of the words of a cell, however they are inflected."""
    stems = (
        r"\w* ".join(re.escape(word[: max(3, len(word) - 2)]) for word in form.split()) for form in cell.split(", ")
    )
    return re.compile("|".join(rf"\b{stem}" for stem in stems), re.IGNORECASE)


GLOSSARY = ROW.findall((ROOT / "docs" / "glossary.md").read_text())
BARE = re.compile(r"%\(\w+\)s|\{[^}]*\}|`[^`]*`|RELAIS_\w+|\d{4}-\d\d-\d\dT[\d:]+Z")  # no words of a language
ANOTHER = {"By cause, most orders first", "In the order in which they were"}  # in which a word has another meaning


@pytest.mark.parametrize(("english", "french"), GLOSSARY, ids=[english for english, _ in GLOSSARY])
def test_a_notion_has_one_word_in_french(english: str, french: str) -> None:
    notion = re.compile(rf"\b{english.removesuffix('e')}\w*", re.IGNORECASE)
    uses = [(one, other) for one, other in said() if notion.search(BARE.sub("", one)) and one not in ANOTHER]
    assert uses, "nobody says it"
    assert [(one, other) for one, other in uses if not words(french).search(other)] == []


def test_no_word_is_used_that_misleads() -> None:
    assert [text for _, text in said() if RETIRED.search(BARE.sub("", text))] == []


def test_french_has_its_punctuation() -> None:
    assert [text for _, text in said() if HIGH.search(BARE.sub("x", text))] == []


def test_templates_leave_punctuation_to_the_language() -> None:
    bare = re.compile(r"(?:\}\}|%\}|</\w+>)[:;!?](?:\s|$)")
    found = [
        f"{file.name}: {line}"
        for file in FRENCH.parents[1].glob("templates/**/*.html")
        for line in re.sub(r"\{%-? trans.*?endtrans %\}", "", file.read_text()).splitlines()
        if bare.search(line)
    ]
    assert found == []


RECORDED = re.compile(r'record(?:ing|_each|)?\(\s*(?:connection,\s*)?"([a-z ]+)"')
CHANGED = re.compile(r'_change\(connection, "(\w+)"')


def test_what_is_recorded_is_named_in_french() -> None:
    texts = [file.read_text() for room in ("workers", "orders") for file in (ROOT / room).rglob("*.py")]
    acts = {act for each in texts for act in RECORDED.findall(each)}
    acts |= {f"account {act}" for each in texts for act in CHANGED.findall(each)}
    assert {"client add", "account role", "webhook test", "spill drop", "resend"} <= acts
    told = dict(said())
    assert sorted(acts - set(told)) == []
