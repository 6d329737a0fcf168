"""The papers as data: sections, tables, named tests; and what of them is generated.

`python -m tests.papers` writes what is generated: the state machine, and in which file each named test stands.
`tests/docs/test_papers.py` holds all of it.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Final

from orders.states import FINAL, TRANSITIONS, State
from tests.machines.tools import ROOT

DOCS: Final = ROOT / "docs"
ARCHITECTURE: Final = DOCS / "architecture.md"
PAPERS: Final = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md")))
BEGIN: Final = "<!-- states: begin -->\n"
END: Final = "<!-- states: end -->"
LISTED: Final = r"^(- `(test_\w+)`(, and all beside it)? \(`)([\w/.]+)(`\))"
ADDRESSED: Final = r"(tests/[\w/]+\.py)::(test_\w+)"


def read(path: Path) -> str:
    """A paper's text."""
    return path.read_text(encoding="utf-8")


def sections(text: str, level: int = 2) -> dict[str, str]:
    """What stands under each heading of that level, which ends at the next one of that level or a higher one."""
    parts = re.split(rf"^(#{{1,{level}}}) (.+)$", text, flags=re.MULTILINE)
    each = zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    return {title: body for marks, title, body in each if len(marks) == level}


def rows(text: str) -> list[list[str]]:
    """The cells of every row of the tables in a text, without their heads."""
    found: list[list[str]] = []
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        lines = table.splitlines()[2:]
        found += [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return found


def slug(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """Every anchor of a paper."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {slug(title) for title in titles} | set(re.findall(r'<a id="([^"]+)"', text))


def home(test: str, told: str) -> str:
    """Where a test stands: where a paper tells, if that is so, else in the one file that has it."""
    found = [str(path.relative_to(ROOT)) for path, text in sources().items() if f"def {test}(" in text]
    return told if told in found or len(found) != 1 else found[0]


@cache
def sources() -> dict[Path, str]:
    """Every test file, with what it says."""
    return {path: read(path) for path in sorted((ROOT / "tests").rglob("test_*.py"))}


def floors(name: str) -> list[frozenset[str]]:
    """The rooms of each floor of an import contract, from the top."""
    (contract,) = [each for each in contracts() if each["name"] == name]
    return [frozenset(re.split(r"\s*[|:]\s*", layer)) for layer in contract["layers"]]


def contracts() -> list[dict[str, Any]]:
    """The import contracts."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: list[dict[str, Any]] = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    return found


def states() -> str:
    """The state machine as Mermaid draws it, and each transition in words."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.ACCEPTED}: accept"]
    table = ["| from | to | what happens |", "| --- | --- | --- |"]
    for (before, after), why in TRANSITIONS.items():
        lines.append(f"    {before} --> {after}: {why.partition(':')[0]}")
        table.append(f"| `{before}` | `{after}` | {why} |")
    ends = [state for state in State if not any(state is before for before, _ in TRANSITIONS)]
    lines += [f"    {state} --> [*]" for state in ends]
    lines += ["    classDef final stroke-width:3px", f"    class {','.join(FINAL)} final", "```"]
    return "\n".join([*lines, "", *table, ""])


def written(text: str) -> str:
    """The paper with what is generated as it must be: the state machine, and in which file each test stands."""
    if BEGIN in text:
        before, _, rest = text.partition(BEGIN)
        text = before + BEGIN + states() + END + rest.partition(END)[2]
    text = re.sub(LISTED, lambda found: f"{found[1]}{home(found[2], found[4])}{found[5]}", text, flags=re.MULTILINE)
    return re.sub(ADDRESSED, lambda found: f"{home(found[2], found[1])}::{found[2]}", text)


if __name__ == "__main__":
    for paper in PAPERS:
        paper.write_text(written(read(paper)), encoding="utf-8")
