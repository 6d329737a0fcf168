"""The papers say what is so: for every promise tests that exist and a limit, the rooms as the contracts have them."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

from config.settings import Settings
from orders.client.settings import ClientSettings
from tests.machines.tools import ROOT
from tests.papers import (
    ARCHITECTURE,
    DOCS,
    LISTED,
    PAPERS,
    anchors,
    contracts,
    floors,
    read,
    rows,
    sections,
    slug,
    sources,
    written,
)

README = read(ROOT / "README.md")
PROMISES = sections(read(DOCS / "promises.md"))
ROOMS = sections(read(ARCHITECTURE), level=3)
PAGE = 10_000  # bytes of a README that fits on one
OTHERS = {
    "RELAIS_OPERATOR",
    "RELAIS_OPERATOR_PASSWORD",
    "RELAIS_X",
    "RELAIS_ERP",
    "RELAIS_COMPLETE",
}  # not the program's settings, and examples
LINE = re.compile(r"\[(.+)\]\(docs/promises\.md#(.+)\)")


def test_the_readme_fits_on_a_page() -> None:
    assert len(README.encode()) <= PAGE


def test_every_promise_of_the_readme_has_its_section_and_every_section_its_line() -> None:
    told = [LINE.fullmatch(row[0]) for row in rows(sections(README)["The promises"])]
    assert [each.groups() if each else () for each in told] == [(title, slug(title)) for title in PROMISES]
    assert len(PROMISES) > 15


@pytest.mark.parametrize("promise", PROMISES)
def test_every_promise_names_its_limit_and_tests_that_exist(promise: str) -> None:
    shown, _, limit = PROMISES[promise].partition("**Limit.** ")
    assert len(limit) > 20
    listed = shown.partition("**Shown by**\n\n")[2]
    named = re.findall(LISTED, listed, re.MULTILINE)
    assert named
    assert len(named) == len(re.findall("^- ", listed, re.MULTILINE)), "a line is no test"
    for _, test, _, path, _ in named:
        assert f"def {test}(" in sources().get(ROOT / path, ""), f"{test} is not in {path}"


def test_every_test_that_a_paper_names_exists() -> None:
    code = "\n".join(sources().values())
    modules = {path.stem for path in sources()}
    named = set(re.findall(r"\b(test_\w+)\b", "\n".join(map(read, PAPERS))))
    assert len(named) > 60
    assert {name for name in named - modules if f"def {name}(" not in code} == set()


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_paper_leads_somewhere(paper: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(paper)):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        place = (paper.parent / path).resolve() if path else paper
        assert place.exists(), target
        assert not anchor or anchor in anchors(read(place)), target


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_that_a_paper_names_exists(paper: Path) -> None:
    text = read(paper)
    named = set(re.findall(r"`((?:orders|workers|config|docs|benchmarks|tests)/[\w/.]*)`", text))
    assert {path for path in named if not (ROOT / path).exists()} == set()
    modules = set(re.findall(r"`((?:orders|workers|config)(?:\.[a-z_]+)+)`", text)) - TABLES
    assert {name for name in modules if not importable(name)} == set()


TABLES = {"orders.traceparent"}  # a column


def importable(name: str) -> bool:
    """Whether a dotted name is a module, or may be something in one."""
    path = ROOT / name.replace(".", "/")
    return any(each.is_dir() or each.with_suffix(".py").exists() for each in (path, path.parent))


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_generated_is_as_it_must_be(paper: Path) -> None:
    assert read(paper) == written(read(paper)), "run `python -m tests.papers`"


def test_the_state_machine_is_drawn() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+): ", read(ARCHITECTURE), re.MULTILINE)
    assert ("delivering", "delivered") in drawn and len(drawn) > 15


@pytest.mark.parametrize("package", ["workers", "orders"])
def test_the_rooms_are_on_the_floors_that_the_contracts_give_them(package: str) -> None:
    found: dict[int, set[str]] = {}
    for floor, room, holds in rows(ROOMS[f"{package}/"]):
        name = room.strip("`")
        assert (ROOT / package / name).exists(), name
        assert holds
        found.setdefault(int(floor), set()).add(name.removesuffix("/").removesuffix(".py"))
    assert list(found) == sorted(found, reverse=True), "from the top"
    assert list(found.values()) == floors(f"the floors of {package}/")


def test_every_contract_is_told() -> None:
    told = re.findall(r"^- (.+)$", sections(read(ARCHITECTURE))["The rooms"].partition("###")[0], re.MULTILINE)
    assert told == [contract["name"] for contract in contracts()]


def test_what_is_asked_for_is_at_most_two_steps_from_the_top() -> None:
    where = [row[1].strip("`") for row in rows(sections(read(ARCHITECTURE))["Where is …?"])]
    assert len(where) > 15
    for path in where:
        assert (ROOT / path).exists(), path
        assert len(Path(path).parts) <= 3, f"{path} is more than two steps away"


def test_where_new_things_go_is_told_of_each() -> None:
    table = {row[0] for row in rows(read(ROOT / "CONTRIBUTING.md"))}
    assert table >= {"connector to an ERP", "command", "page of the console", "metric", "setting", "table"}


def test_the_changelog_has_this_version() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert f"## {version}\n" in read(ROOT / "CHANGELOG.md")


def test_every_setting_is_described() -> None:
    made = runpy.run_path(str(ROOT / ".ci" / "settings.py"))
    assert made["PLACE"].read_text(encoding="utf-8") == made["document"](), "make docs"
    described = made["document"]()
    assert {name for name in Settings.public() if f"`RELAIS_{name.upper()}`" not in described} == set()


def test_no_paper_names_a_setting_that_does_not_exist() -> None:
    known = {f"RELAIS_{name.upper()}" for name in (*Settings.public(), *ClientSettings.model_fields)} | OTHERS
    papers = [*ROOT.glob("docs/*.md"), *ROOT.glob("config/**/*.service"), *ROOT.glob("config/**/*.example")]
    for paper in (*papers, ROOT / "docker-compose.yml"):
        named = set(re.findall(r"\bRELAIS_[A-Z_]+[A-Z]\b", paper.read_text(encoding="utf-8")))
        assert {name for name in named if name.removesuffix("_FILE") not in known} == set(), paper
