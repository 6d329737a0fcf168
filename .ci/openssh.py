"""Gets OpenSSH's server for `make test-erp`: Debian's packages unpacked into `.tools/openssh`, which needs no root.

`libnss-wrapper` gives it users of its own, so that it runs as whoever is not root and the system's are left alone.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))

from tools import apt  # noqa: E402

HOME = ROOT / ".tools" / "openssh"
PACKAGES = ("openssh-server", "openssh-sftp-server", "libwrap0", "libnss-wrapper")


def main() -> None:
    """Unpack what is not there, all of it or nothing."""
    if HOME.exists():
        return
    if shutil.which("apt-get") is None or shutil.which("ssh-keygen") is None:
        print("No apt-get or no ssh-keygen here: what needs an SFTP server is skipped.")
        return
    print(f"Fetching Debian's {', '.join(PACKAGES)} into .tools/openssh", flush=True)
    HOME.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".tools-") as work:
        for package in PACKAGES:
            apt("download", package, cwd=work)
        for archive in Path(work).glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, f"{work}/root"], check=True)
        Path(work, "root").rename(HOME)


if __name__ == "__main__":
    main()
