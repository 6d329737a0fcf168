"""Programs that `make tools` gets: where they are, and what a test does without them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]


def program(name: str) -> str:
    """The program's path. Skips the test where there is no apt-get to get it with, and fails it where there is."""
    found = shutil.which(name) or shutil.which(name, path=str(ROOT / ".tools" / "usr" / "bin"))
    if found:
        return found
    if shutil.which("apt-get") is None:
        pytest.skip(f"there is no {name}, and no apt-get to get it with")
    pytest.fail(f"there is no {name}: run `make tools`")


def faketime() -> Path:
    """The library that gives a process another wall clock. Skips and fails as `program` does."""
    if found := next((ROOT / ".tools").glob("usr/lib/*/faketime/libfaketime.so.1"), None):
        return found
    if shutil.which("apt-get") is None:
        pytest.skip("there is no libfaketime, and no apt-get to get it with")
    pytest.fail("there is no libfaketime: run `make tools`")


def lacking(what: str, *by: str) -> NoReturn:
    """There is no such thing, which `make erp-tools` gets by programs: skip the test where these are not all there, and
    fail it where they are.
    """
    without = [each for each in by if shutil.which(each) is None]
    if without:
        pytest.skip(f"there is no {what}, and no {' or '.join(without)} to get it with")
    pytest.fail(f"there is no {what}: run `make erp-tools`")


def promtool(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run promtool in a folder."""
    return subprocess.run(
        [program("promtool"), *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )
