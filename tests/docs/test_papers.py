"""The README says what is so: every setting, and for every promise a test that exists."""

import re

from config.settings import Settings
from tests.tools import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_table() -> str:
    """The table as it must stand in the README."""
    rows = ["| variable | default | what it is |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory or field.default is None else f"`{field.default}`"
        if field.default_factory:
            default = {"data_dir": "see below", "worker_concurrency": "number of cores"}[name]
        rows.append(f"| `RELAIS_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def test_every_setting_is_in_the_readme() -> None:
    assert settings_table() in README, settings_table()


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
