"""Gets the programs that tests use and PyPI does not have: Debian's `prometheus` and `promtool`, and Chromium.

What is on the PATH is used as it is. Otherwise Prometheus is unpacked into `.tools/`, which needs no root; Chromium
has too many parts for that and is installed where we are root, for `make test-browser` and `make test-all`. Where one
cannot be had this says so, and the tests that need it are skipped.
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


def main(wanted: list[str]) -> None:
    """Get Prometheus, and Chromium when it is asked for by name; ends with a sentence where apt-get fails."""
    monitoring = all(map(there, MONITORING))
    browser = there("chromium") or "chromium" not in wanted
    if monitoring and browser:
        return
    if shutil.which("apt-get") is None:
        print("No apt-get here: tests that need Prometheus or Chromium are skipped unless these are on the PATH.")
        return
    if not monitoring:
        unpack("prometheus")
    if not browser and os.geteuid() == 0:
        print("Installing Debian's Chromium, for the tests in a browser", flush=True)
        apt("install", "--yes", "--no-install-recommends", "chromium")
    elif not browser:
        print("No Chromium on the PATH, and root alone can install it: the tests in a browser are skipped.")


def there(program: str) -> bool:
    """Whether the program can be run."""
    return (BIN / program).exists() or shutil.which(program) is not None


def unpack(package: str) -> None:
    """Put what is in a Debian package into `.tools/`, all of it or nothing."""
    print(f"Fetching Debian's {package} into .tools/", flush=True)
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".tools-") as work:
        apt("download", package, cwd=work)
        (archive,) = Path(work).glob("*.deb")
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
