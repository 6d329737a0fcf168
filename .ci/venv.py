"""Makes `.venv` from `requirements.lock`; nothing but the standard library.

`.venv/.ready` is written last. Without it the environment was interrupted, or never finished, and is made afresh.
A lock on the checkout makes a second `make` wait for the first and then find its work done.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
READY = VENV / ".ready"
SOURCES = ("requirements.lock", "pyproject.toml")


def main() -> None:
    """Make the environment ready, or see that it is."""
    checkout = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(checkout, fcntl.LOCK_EX)
    wanted = "\n".join([str(ROOT), *(digest(name) for name in SOURCES)]) + "\n"
    made = READY.read_text() if READY.exists() else ""
    if made != wanted:
        READY.unlink(missing_ok=True)
        pip = fresh() if made.partition("\n")[0] != str(ROOT) else present()
        run(*pip, "install", "--quiet", "--require-hashes", "-r", "requirements.lock")
        run(*pip, "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", ".")
    write(wanted)


def fresh() -> tuple[str, ...]:
    """An empty environment and the pip that fills it; Debian may lack ensurepip, then the system's pip does."""
    print(f"Making .venv with Python {sys.version.split()[0]} from requirements.lock", flush=True)
    words = (sys.executable, "-m", "venv", "--clear", str(VENV))
    if subprocess.run(words, check=False, capture_output=True).returncode:
        run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV))
    return present()


def present() -> tuple[str, ...]:
    """The pip that fills the environment that is there."""
    for pip in ((str(PYTHON), "-m", "pip"), (sys.executable, "-m", "pip", "--python", str(PYTHON))):
        if subprocess.run([*pip, "--version"], check=False, capture_output=True).returncode == 0:
            return pip
    sys.exit("There is no pip: install python3-venv or python3-pip (Debian's names), then run make again.")


def run(*words: str) -> None:
    """Run a step of the set-up; its failure is the set-up's."""
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if code := subprocess.run(words, check=False, cwd=ROOT, env=env).returncode:
        sys.exit(f"failed with {code}: {' '.join(words)}")


def write(text: str) -> None:
    """Declare the environment ready, in one step."""
    draft = READY.with_name(".ready.new")
    draft.write_text(text)
    draft.replace(READY)


def digest(name: str) -> str:
    """The SHA-256 of a file of the checkout."""
    return f"{hashlib.sha256((ROOT / name).read_bytes()).hexdigest()} {name}"


if __name__ == "__main__":
    main()
