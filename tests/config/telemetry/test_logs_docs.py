"""What is logged is written in one way everywhere, and docs/logs.md names every field of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.machines.tools import ROOT

DOCS = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
WRITER = ROOT / "config" / "telemetry" / "order_log.py"  # what it writes is rendered before it is logged
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger of ours, with where it stands."""
    for path in sorted(each for room in ("config", "orders", "workers") for each in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                logger = ast.unparse(node.func.value)
                if path != WRITER and (logger == "log" or logger.startswith("logging.getLogger")):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_an_event_is_constant_and_what_differs_is_a_field() -> None:
    found = list(calls())
    assert len(found) > 50
    for where, call in found:
        assert isinstance(call.func, ast.Attribute)
        event, *more = call.args[1:] if call.func.attr == "log" else call.args
        assert isinstance(event, ast.Constant) and isinstance(event.value, str), where
        assert not more and not re.search(r"%[a-z]|=", event.value), where
        assert {keyword.arg for keyword in call.keywords} <= {"extra", "exc_info"}, where


def test_every_field_is_in_the_docs() -> None:
    fields = set()
    for _, call in calls():
        for keyword in call.keywords:
            if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
                fields |= {each.value for each in keyword.value.keys if isinstance(each, ast.Constant)}
    section = DOCS.partition("## Fields")[2].partition("## Traces")[0]
    named = {
        name for row in section.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    }
    assert len(fields) > 20
    assert fields <= named, "docs/logs.md lacks these"


def test_every_step_is_in_the_docs() -> None:
    said = set()
    for path in (each for room in ("orders", "workers") for each in (ROOT / room).rglob("*.py")):
        said |= set(re.findall(r'(?:order_log\.say|tell_rows)\(\s*"(\w+)"', path.read_text(encoding="utf-8")))
    section = DOCS.partition("## One line")[2].partition("## Fields")[0]
    assert said == set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) != set()
