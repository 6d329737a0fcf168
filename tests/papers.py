"""The papers as data: sections, tables, named tests and paths; and the part of docs/architecture.md that is generated.

`python -m tests.papers` writes what is generated. `tests/unit/test_papers.py` holds all of it.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from orders.states import FINAL, TRANSITIONS, State

ROOT: Final = Path(__file__).resolve().parents[1]
DOCS: Final = ROOT / "docs"
ARCHITECTURE: Final = DOCS / "architecture.md"
PAPERS: Final = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.glob("*.md")))
BEGIN: Final = "<!-- states: begin -->\n"
END: Final = "<!-- states: end -->"


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


def files(kind: str, name: str) -> list[Path]:
    """The test files of that name under tests/<kind>/, in whichever of its folders."""
    return sorted((ROOT / "tests" / kind).rglob(name))


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
    """The paper with what is generated as it must be."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + states() + END + rest.partition(END)[2]


if __name__ == "__main__":
    ARCHITECTURE.write_text(written(read(ARCHITECTURE)), encoding="utf-8")
