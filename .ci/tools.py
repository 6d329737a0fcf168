"""Gets what tests use and PyPI does not have: Debian's `prometheus` and `promtool`, `libfaketime`, and Chromium.

What is on the PATH is used as it is. The rest is unpacked into `.tools/`, which needs no root; Chromium
has too many parts for that and is installed where we are root, for `make test-all` alone. Where there is no apt-get
this says so and the tests that need the programs are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".tools"
BIN = TOOLS / "usr" / "bin"
MONITORING = ("prometheus", "promtool")
FAKETIME = "usr/lib/*/faketime/libfaketime.so.1"


def main(wanted: list[str]) -> None:
    """Get all but Chromium, and that when it is asked for by name; ends with a sentence where apt-get fails."""
    unpacked = all(map(there, MONITORING)) and any(TOOLS.glob(FAKETIME))
    browser = there("chromium") or "chromium" not in wanted
    if unpacked and browser:
        return
    if shutil.which("apt-get") is None:
        print("No apt-get here: tests that need Prometheus, libfaketime or Chromium are skipped.")
        return
    if not unpacked:
        unpack("libfaketime", *(() if all(map(shutil.which, MONITORING)) else ("prometheus",)))
    if not browser and os.geteuid() == 0:
        print("Installing Debian's Chromium, for the slow tests", flush=True)
        apt("install", "--yes", "--no-install-recommends", "chromium")


def there(program: str) -> bool:
    """Whether the program can be run."""
    return (BIN / program).exists() or shutil.which(program) is not None


def unpack(*packages: str) -> None:
    """Put what is in Debian packages into `.tools/`, all of it or nothing."""
    print(f"Fetching Debian's {' and '.join(packages)} into .tools/", flush=True)
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".tools-") as work:
        for package in packages:
            apt("download", package, cwd=work)
        for archive in Path(work).glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, f"{work}/root"], check=True)
        shutil.rmtree(TOOLS, ignore_errors=True)
        Path(work, "root").rename(TOOLS)


def apt(*words: str, cwd: str | None = None) -> None:
    """Run apt-get; where it knows no such package, or an old version of it, and we are root, with fresh lists."""
    command = ["apt-get", "--quiet", "--quiet", "--option", "APT::Sandbox::User=root", *words]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(command, check=False, cwd=cwd, env=env, capture_output=True).returncode == 0:
        return
    if os.geteuid() == 0:
        subprocess.run(["apt-get", "--quiet", "--quiet", "update"], check=False, env=env)
    if subprocess.run(command, check=False, cwd=cwd, env=env).returncode:
        sys.exit(f"failed: {' '.join(command)}; as root, `apt-get update` first, or install {words[-1]}")


if __name__ == "__main__":
    main(sys.argv[1:])
