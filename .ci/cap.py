"""SAP's CAP server in `.tools/cap`, for tests of the connector `odata`: Node and mock-sap from PyPI, CAP from npm.

All is locked: the wheels in tests/conformance/cap.lock, the packages of npm in tests/conformance/cap/package-lock.json.
No package runs a script of its own as it is installed. `seed.sqlite` is an empty store, which every test copies.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.machines import cap  # noqa: E402

LOCK = ROOT / "tests" / "conformance" / "cap.lock"
MODEL = ROOT / "tests" / "conformance" / "cap"


def main() -> None:
    """Make what is not there, or was made from other files."""
    sources = [LOCK, Path(__file__), *sorted(each for each in MODEL.rglob("*") if each.is_file())]
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    if cap.READY.exists() and cap.READY.read_text() == wanted:
        return
    print("Making .tools/cap: SAP's CAP server, and a Node to run it", flush=True)
    shutil.rmtree(cap.HOME, ignore_errors=True)
    shutil.copytree(MODEL, cap.HOME)
    run(sys.executable, "-m", "venv", str(cap.HOME / "venv"))
    run(str(cap.PYTHON), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK))
    npm = cap.node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    run(str(cap.node()), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    run(str(cap.node()), "node_modules/@sap/cds/bin/deploy.js")
    cap.READY.write_text(wanted)


def run(*words: str) -> None:
    """Run a step in `.tools/cap`; its failure ends this."""
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if code := subprocess.run(words, check=False, cwd=cap.HOME, env=env).returncode:
        sys.exit(f"failed with {code}: {' '.join(words[:4])}")


if __name__ == "__main__":
    main()
