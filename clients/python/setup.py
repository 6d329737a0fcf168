"""Builds `relais_client` from Relais itself: the modules that a front end needs are taken from orders/ and config/ as
they are, under the package's own name. There is no second copy of them to keep.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import Final

from setuptools import setup
from setuptools.command.build_py import build_py

PACKAGE: Final = "relais_client"
ROOT: Final = Path(__file__).resolve().parents[2]
TAKEN: Final = (
    *(f"orders/client/{name}.py" for name in ("answers", "client", "flush", "spool", "spool_file", "transport")),
    *(f"orders/{name}.py" for name in ("ending", "errors", "faults", "identifiers", "model")),
    *(f"config/{name}.py" for name in ("backoff", "retry_after")),
)
OURS: Final = re.compile(r"^from (?:orders\.client|orders|config)(?=[. ])", re.MULTILINE)


class TakeFromRelais(build_py):
    """Puts what is taken beside the package's own face."""

    def run(self) -> None:
        """Begin with nothing, so that a module that is taken no more is not found from an earlier time."""
        target = Path(self.build_lib, PACKAGE)
        shutil.rmtree(target, ignore_errors=True)
        super().run()
        for name in TAKEN:
            source = ROOT / name
            (target / source.name).write_text(OURS.sub(f"from {PACKAGE}", source.read_text("utf-8")), "utf-8")


setup(
    version=tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"],
    cmdclass={"build_py": TakeFromRelais},
)
