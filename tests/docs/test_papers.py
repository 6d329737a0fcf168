"""The README says what is so: every setting, and for every promise a test that exists."""

import re
import runpy

from config.settings import Settings
from orders.client.settings import ClientSettings
from tests.tools import ROOT

OTHERS = {"RELAIS_OPERATOR", "RELAIS_X", "RELAIS_ERP", "RELAIS_COMPLETE"}  # not the program's settings, and examples
README = (ROOT / "README.md").read_text(encoding="utf-8")


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


def test_every_promise_names_tests_that_exist() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    modules = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    named = set(re.findall(r"\b(test_\w+)", README)) - modules
    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in sources} == set()


def test_every_file_that_the_readme_names_exists() -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", README)
    linked += re.findall(r"`((?:orders|workers|config|tests)/[\w/.]+\.py)", README)
    assert {path for path in linked if not path.startswith("http") and not (ROOT / path).exists()} == set()
