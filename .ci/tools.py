"""Gets what tests use and PyPI does not have: Debian's Prometheus, `libfaketime`, Chromium, and clients of the intake.

What is on the PATH is used as it is. Prometheus and libfaketime are unpacked into `.tools/`, which needs no root.
Chromium, and the proxies, the JDK and Go that tests try the intake with, have too many parts for that and are installed
where we are root, for `make test-browser` and `make test-all`. Where one cannot be had this says so, and the tests
that need it are skipped.
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
CLIENTS = {  # packages by program
    "nginx": "nginx",
    "haproxy": "haproxy",
    "javac": "default-jdk-headless",
    "go": "golang-go",
}


def main(wanted: list[str]) -> None:
    """Get what is unpacked, and Chromium and clients when they are asked for; a failing apt-get ends it."""
    unpacked = all(map(there, MONITORING)) and any(TOOLS.glob(FAKETIME))
    browser = there("chromium") or "chromium" not in wanted
    clients = [] if "clients" not in wanted else [CLIENTS[each] for each in CLIENTS if not there(each)]
    if unpacked and browser and not clients:
        return
    if shutil.which("apt-get") is None:
        print("No apt-get here: tests that need Prometheus, libfaketime, Chromium or clients are skipped.")
        return
    if not unpacked:
        unpack("libfaketime", *(() if all(map(shutil.which, MONITORING)) else ("prometheus",)))
    if clients and os.geteuid() == 0:
        print(f"Installing Debian's {', '.join(clients)}, for the tests of the intake", flush=True)
        apt("install", "--yes", "--no-install-recommends", *clients)
    if not browser and os.geteuid() == 0:
        print("Installing Debian's Chromium, for the tests in a browser", flush=True)
        apt("install", "--yes", "--no-install-recommends", "chromium")
    elif not browser:
        print("No Chromium on the PATH, and root alone can install it: the tests in a browser are skipped.")


def there(program: str) -> bool:
    """Whether the program can be run."""
    return any(map(shutil.which, (program, f"/usr/sbin/{program}", BIN / program)))


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
