"""Gets what stands before an ERP in `make test-erp`: HAProxy from Debian, and from npm an authorization server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from tools import ROOT, TOOLS, apt, there

MADE_OF = ROOT / "tests" / "conformance" / "oidc"
PLACE = TOOLS / "oidc"


def main() -> None:
    """Get what is not there; where one cannot be had, the tests that need it are skipped."""
    if not there("haproxy") and shutil.which("apt-get"):
        apt("install", "--yes", "--no-install-recommends", "haproxy")
    lock = (MADE_OF / "package-lock.json").read_text(encoding="utf-8")
    kept = PLACE / "package-lock.json"
    if not (kept.exists() and kept.read_text(encoding="utf-8") == lock) and shutil.which("npm"):
        shutil.rmtree(PLACE, ignore_errors=True)
        shutil.copytree(MADE_OF, PLACE)
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], check=True, cwd=PLACE)


if __name__ == "__main__":
    main()
