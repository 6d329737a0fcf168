"""What could hide in a text, or drive a terminal, is seen by whoever looks."""

import json
import unicodedata

import pytest

from config.telemetry.visible import HIDING, visible, visible_json

BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CONTROL = "".join(map(chr, (*range(0x20), *range(0x7F, 0xA0)))).replace("\n", "").replace("\t", "")
OTHERS = "\u2028\u2029\u200b\ufeff\xad\ud800\U000e0041"


@pytest.mark.parametrize("hiding", [*BIDIRECTIONAL, *CONTROL, *OTHERS])
def test_what_hides_is_written_out(hiding: str) -> None:
    told = visible(f"a{hiding}b")
    assert told.isascii() and told.isprintable()
    assert told.encode().decode("unicode_escape") == f"a{hiding}b"


def test_letters_marks_spaces_and_lines_stay() -> None:
    for text in ("L'œuvre d'un élève:\n\t5 €\xa0; 3\u202f400", "אבג", "日本", "\U0001f600"):
        assert visible(text) == text
        assert visible_json(json.dumps(text, ensure_ascii=False)) == json.dumps(text, ensure_ascii=False)


def test_nothing_that_unicode_calls_a_control_or_a_separator_of_lines_is_left() -> None:
    every = "".join(map(chr, range(0x10000)))
    left = {c for c in HIDING.sub("", every) if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cs")}
    assert left == {"\n", "\t"}
    turning = {"R", "AL", "AN", "EN", "L"}  # letters and digits
    assert not {c for c in every if unicodedata.category(c) == "Cf" and not HIDING.match(c)} & set(BIDIRECTIONAL)
    assert {unicodedata.bidirectional(c) for c in BIDIRECTIONAL} - turning


def test_a_document_of_json_stays_the_same_document() -> None:
    text = BIDIRECTIONAL + CONTROL + OTHERS + '"\\é'
    document = visible_json(json.dumps({text: [text]}, ensure_ascii=False, indent=2))
    assert json.loads(document) == {text: [text]}
    assert not HIDING.search(document)
