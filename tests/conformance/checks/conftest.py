"""`relais erp check` on an ERP, with a journal that has no orders."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from config.settings import Settings
from tests.cli import CommandLine, environment


@dataclass(frozen=True)
class Checked:
    """The exit code, and by its name what each finding came to and what was seen."""

    code: int
    found: dict[str, tuple[str, str]]

    @property
    def said(self) -> str:
        """What is not ok, a line each."""
        return "\n".join(f"{each} {name}: {seen}" for name, (each, seen) in self.found.items() if each != "ok")

    def names(self, verdict: str) -> set[str]:
        """Of the findings that came to that."""
        return {name for name, (each, _) in self.found.items() if each == verdict}

    @property
    def failing(self) -> set[str]:
        """What would fail; the exit code says the same."""
        names = self.names("would fail")
        assert self.code == bool(names), self.said
        return names


Check = Callable[[Settings], Checked]


@pytest.fixture
def check(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Check:
    """As an operator does, with the settings of a backend."""
    relais = CommandLine(capsys, environment(settings))

    def run(erp: Settings) -> Checked:
        done = relais("erp", "check", "--json", **environment(erp))
        findings = json.loads(done.out)["findings"]
        return Checked(done.code, {each["name"]: (each["verdict"], each["detail"]) for each in findings})

    return run
