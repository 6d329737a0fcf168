"""Copies what the console serves and the report embeds out of npm packages, as pinned and hashed in the lock file.

Run by `make assets` after a version was changed; the copies are kept in the repository, with a list of what they are,
so that nothing else needs npm. A test compares the copies, the list and the lock.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ROOT / "workers" / "console" / "assets"
LIST = PACKAGES / "vendored.json"
VENDOR = "workers/console/static/vendor"
FILES = {
    f"{VENDOR}/htmx.min.js": "htmx.org/dist/htmx.min.js",
    f"{VENDOR}/hx-sse.min.js": "htmx.org/dist/ext/hx-sse.min.js",
    f"{VENDOR}/uPlot.iife.min.js": "uplot/dist/uPlot.iife.min.js",
    f"{VENDOR}/uPlot.min.css": "uplot/dist/uPlot.min.css",
    "workers/proof/fonts/DejaVuSans.ttf": "dejavu-fonts-ttf/ttf/DejaVuSans.ttf",
    "workers/proof/fonts/DejaVuSans-Bold.ttf": "dejavu-fonts-ttf/ttf/DejaVuSans-Bold.ttf",
    "tests/acceptance/console/axe.min.js": "axe-core/axe.min.js",
}


def main() -> None:
    """Get the packages into a directory of their own, copy, and write down what was copied."""
    listed = {}
    with tempfile.TemporaryDirectory() as work:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PACKAGES / name, work)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=work, check=True)
        for target, source in FILES.items():
            found = Path(work, "node_modules", source)
            package = json.loads((found.parents[len(Path(source).parts) - 2] / "package.json").read_text())
            (ROOT / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, ROOT / target)
            listed[target] = {
                "package": package["name"],
                "version": package["version"],
                "license": package["license"],
                "sha256": hashlib.sha256(found.read_bytes()).hexdigest(),
            }
    LIST.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
