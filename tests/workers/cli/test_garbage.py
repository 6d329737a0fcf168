"""Whatever is typed for an option or an argument is taken, or refused in one line that names it: no traceback, ever."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from config.settings import Settings
from tests.cli import CommandLine, Done, environment, whole_command

ID = "0197a3c2-1111-7000-8000-000000000001"
GARBAGE = ("-1", "9" * 30, "1h30 \u202e../x")
NEEDED = {
    "way": "on",
    "to": "erp",
    "because": "a test",
    "order_id": ID,
    "words": "5",
    "role": "viewer",
    "new": "viewer",
}
NEEDED |= {"url": "http://127.0.0.1:1/", "name": "front", "client": "front", "backend": "erp"}
SERVE = {"up", "demo", "api", "worker", "console", "exporter", "flower", "erp-sim", "status", "audit", "drain"}
OFFLINE = {"account add", "account password", "admin seal", "submit", "outage", "key generate", "release"}
OFFLINE |= {"erp check", *(f"erp profile {word}" for word in ("list", "show", "check"))}
OFFLINE |= {"webhook test", "mapping import"}  # they ask no journal, or first something else
OFFLINE |= {f"spool {word}" for word in ("status", "flush", "export")} | {
    f"admin {word}" for word in ("secrets", "acl")
}
OFFLINE |= {"admin roles", "admin space", "admin queue head", "admin queue drop", "admin spill drop"}
CHOOSING = {"reconcile": ["--list"], "dead replay": ["--all"], "dead discard": ["--all"], "client change": ["--rate=1"]}
CHOOSING |= {"webhook remove": ["--yes"]}
CHOSEN = {"order show": [ID], "order cancel": [ID], "client rotate": ["front"], "webhook notices": ["front"]}
PYTHONS = re.compile(r"Traceback|Value error|internal fault|\b[A-Z][a-z]\w*(Error|Exception|Warning)\b|Errno|\bNone\b")
NO_JOURNAL = {"RELAIS_DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/x", "RELAIS_REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def relais(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text(base64.b64encode(bytes(range(32))).decode())
    keys = {"RELAIS_API_KEY": "k" * 20, "RELAIS_SPILL_KEY": "s" * 40}
    return CommandLine(capsys, {"RELAIS_DATA_DIR": str(tmp_path), "RELAIS_ERP_URL": "http://127.0.0.1:1", **keys})


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command, with its name."""
    if not hasattr(command, "commands"):
        yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {word}".strip())


def typed(name: str, command: Any, tried: Any = None, value: str = "") -> list[str]:
    """The command line that tries this value, and has all else that is needed."""
    options, arguments = [], []
    for each in command.params:
        needed = each.required or (each.name == "because" and each.default == "")
        given = value if each is tried else NEEDED.get(each.name, each.name) if needed else None
        if given is not None and each.opts[0].startswith("-"):
            options += [each.opts[0], given]
        elif given is not None:
            arguments.append(given)
    return [*name.split(), *options, "--", *arguments]


def fault(done: Done) -> str | None:
    """What a person should not have seen."""
    if found := PYTHONS.search(done.out + done.err):
        return found[0]
    if done.code not in (0, 1, 2):
        return f"exit {done.code}"
    if " refused: " in done.err:
        return "left to PostgreSQL to refuse"
    most = 4 if "Usage: " in done.err else 1  # lines
    return "not one line" if done.code == 2 and len(done.err.splitlines()) > most else None


def test_whatever_is_typed_is_taken_or_refused_in_a_line(settings: Settings, relais: CommandLine) -> None:
    relais.env |= environment(settings)
    told, seen = [], set()
    for name, command in commands(whole_command()):
        for each in () if name in SERVE else command.params:
            same = (*each.opts, each.metavar, getattr(each, "help", ""))  # what several commands share is tried in one
            if getattr(each, "is_flag", False) or same in seen:
                continue
            seen.add(same)
            for value in GARBAGE:
                words = typed(name, command, each, value)
                with mock.patch("sys.stdin", io.StringIO()):
                    done = relais(*words)
                if wrong := fault(done):
                    told.append((wrong, words, done.err))
                if "Invalid value" in done.err and f"'{each.opts[0]}'" not in done.err and each.opts[0][0] == "-":
                    told.append(("not named", words, done.err))
    assert not told, "\n".join(map(str, told))
    assert len(seen) > 60


def test_a_journal_that_does_not_answer_is_one_sentence_in_every_command(relais: CommandLine) -> None:
    relais.env |= NO_JOURNAL
    told = []
    for name, command in commands(whole_command()):
        if name in SERVE - {"drain"} | OFFLINE:
            continue
        words = [*typed(name, command), *CHOSEN.get(name, ())]
        done = relais(*name.split(), *CHOOSING.get(name, ()), *words[len(name.split()) :])
        says = "127.0.0.1:1/x is out of reach: Connection refused" in done.err
        if (done.code, says, fault(done), len(done.err.splitlines()), "secret" in done.err) != (
            2,
            True,
            None,
            1,
            False,
        ):
            told.append((words, done))
    assert not told, "\n".join(map(str, told))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("quarantine", "", "--because", "an intrusion"), "word 2 is blank: is a variable not set?"),
        (("dead", "discard", "--pharmacy", " ", "--because", "a test"), "--pharmacy is blank: is a variable not set?"),
        (("dead", "discard", "--pharmacy=", "--because", "a test"), "--pharmacy is blank: is a variable not set?"),
        (("order", "list", "--client", "caf\udce9"), r"--client is not UTF-8: 'caf\udce9'"),
    ],
)
def test_a_blank_word_is_not_taken_for_one_that_was_left_out(
    relais: CommandLine, words: tuple[str, ...], says: str
) -> None:
    done = relais(*words, **NO_JOURNAL)
    assert (done.code, done.out, done.err) == (2, "", f"relais: {says}\n")
