"""The glossary binds what people read in English: the command line's help, the README and these docs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cli import whole_command

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {  # other words for a notion of the glossary, which means one thing by one word
    "pause": "suspend(?:s|ed|ing)?|halt(?:s|ed|ing)?",
    "resume": "unpause[sd]?|un-pause[sd]?",
    "replay": "re-?queue[sd]?|re-send|re-sends|resubmit(?:s|ted)?|reprocess(?:es|ed)?|re-?inject(?:s|ed)?",
    "stage": "(?:replay|recovery|backlog[^.]*), step by step|waves?",
    "gate": "thresholds?",
    "backlog": "outstanding orders|pending orders|unfinished orders",
    "dead letter": "DLQ|dead-letter queue|poison queue|failed queue",
    "discard": "abandon(?:s|ed)?",
    "cancel": "abort(?:s|ed)?",
    "quarantine": "isolated backend|black-?list(?:s|ed)?|block-?list(?:s|ed)?",
    "release": "unquarantine[sd]?|un-quarantine[sd]?|unlatch(?:es|ed)?",
    "evidence": "suspicions?",
    "divert": "re-?route[sd]?|re-?direct(?:s|ed)? orders",
    "backend": "upstreams?|wholesaler sites?|target systems?",
    "cut-off": "cutoffs?|delivery deadlines?",
    "window": "in-flight limit|concurrency limit",
    "seal": "checksum chain|signature chain",
    "reconcile": "re-?match(?:es|ed)?|compare run",
}
SAID = re.compile(
    "|".join(rf"(?P<{name.replace(' ', '_').replace('-', '_')}>\b(?:{words})\b)" for name, words in FORBIDDEN.items()),
    re.I,
)
OF_A_MACHINE = "a machine that was suspended"  # is not ours to name


def helps(command: Any, name: str = "relais") -> Iterator[tuple[str, str]]:
    """All that help says, by command."""
    told = [getattr(each, "help", "") or "" for each in command.params]
    yield name, " ".join([command.help or "", *told])
    for word, inner in getattr(command, "commands", {}).items():
        yield from helps(inner, f"{name} {word}")


def test_help_and_docs_say_one_word_for_one_notion() -> None:
    told = dict(helps(whole_command()))
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        told[path.name] = path.read_text().replace(OF_A_MACHINE, "")
    wrong = [
        f"{where}: {found[0]!r}: the glossary says {found.lastgroup}"
        for where, text in told.items()
        for found in SAID.finditer(" ".join(text.split()))
    ]
    assert not wrong, "\n".join(wrong)
    assert len(told) > 80


def test_each_of_them_is_a_notion_of_the_glossary() -> None:
    listed = {
        row.split("|")[1].strip() for row in (ROOT / "docs" / "glossary.md").read_text().splitlines() if "|" in row
    }
    assert {*FORBIDDEN} <= listed
