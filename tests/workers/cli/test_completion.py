"""Tab in real shells: commands, options, words that are always the same, and names that settings and journal know."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import Settings
from tests.cli import CommandLine, clean_environment, environment
from tests.machines.tools import ROOT

SCRIPT = """
eval "$(relais --show-completion bash)"
while read -r line; do
  COMP_WORDS=($line); case "$line" in *' _') COMP_WORDS[-1]='' ;; esac
  COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); COMPREPLY=()
  _relais_completion relais
  echo "${COMPREPLY[@]}"
done
"""


@pytest.fixture
def env(settings: Settings, tmp_path: Path) -> dict[str, str]:
    """A surrounding in which `relais` is a command, as it is once installed."""
    command = tmp_path / "relais"
    root = ROOT
    command.write_text(f'#!/bin/sh\nPYTHONPATH={root} exec {sys.executable} -m workers.cli "$@"\n')
    command.chmod(0o755)
    found = clean_environment(environment(settings))
    return {**found, "PATH": f"{tmp_path}{os.pathsep}{found['PATH']}", "HOME": str(tmp_path)}


def tab(env: dict[str, str], *lines: str) -> list[str]:
    """What bash offers at the end of each line; `_` stands for a word that is not begun."""
    typed = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(
        ["bash", "-c", SCRIPT], input=typed, env=env, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_bash_completes_commands_options_words_and_names(
    env: dict[str, str], settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    relais = CommandLine(capsys, environment(settings))
    for name in ("front-south", "front-north", "portal"):
        assert relais("client", "add", name).code == 0
    expected = {
        "relais sta": "status",
        "relais dead list --rea": "--reason",
        "relais dead list --reason ex": "expired exhausted",
        "relais pause _": "erp",
        "relais client rotate front": "front-north front-south",
        "relais client add x --scope o": "orders:write orders:read ops",
    }
    assert dict(zip(expected, tab(env, *expected), strict=True)) == expected


def test_without_a_journal_or_settings_it_is_silent(env: dict[str, str]) -> None:
    gone = {**env, "RELAIS_DATABASE_URL": "postgresql://127.0.0.1:1/x", "RELAIS_ERP_CONCURRENCY": "many"}
    assert tab(gone, "relais client revoke _", "relais pause _") == ["", ""]
    del gone["RELAIS_ERP_CONCURRENCY"]
    assert tab(gone, "relais client revoke _") == [""]


def test_each_shell_gets_a_script_that_it_understands(env: dict[str, str], tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        asked = {**env, "_RELAIS_COMPLETE": f"source_{shell}"}
        shown = subprocess.run(["relais"], env=asked, capture_output=True, text=True, check=True).stdout
        assert f"complete_{shell}" in shown
        if (program := shutil.which(shell)) is not None:
            (tmp_path / shell).write_text(shown)
            subprocess.run([program, "-n", str(tmp_path / shell)], check=True)


def test_completing_imports_nothing_heavy() -> None:
    heavy = {"sqlalchemy", "asyncpg", "celery", "kombu", "aiohttp", "fastapi", "pydantic", "tornado"}
    check = f"import sys, workers.cli.app, workers.cli.completion as c; print({heavy!r} & set(sys.modules))"
    env = {**os.environ, "_RELAIS_COMPLETE": "complete_bash", "COMP_WORDS": "relais dead list --reason "}
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, env=env)
    assert found.stdout.strip() == "set()"
