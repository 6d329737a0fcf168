"""Imports a library without the parts of it that nobody here uses, and that each process would pay for.

Who needs the library imports `config.alone.redis` or `config.alone.sqlalchemy` before it; the first import counts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType


class _Hollow(ModuleType):
    """Stands for a part while the library is imported: every name is there, and is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def import_without(parts: Iterable[str], library: str, missing: Iterable[str] = ()) -> None:
    """Import the library while its `parts` are hollow, and other modules are `missing`; none that is loaded already."""
    stubs: dict[str, ModuleType | None] = {name: _Hollow(name) for name in parts} | dict.fromkeys(missing)
    absent = {name: stub for name, stub in stubs.items() if name not in sys.modules}
    sys.modules.update(absent)  # type: ignore[arg-type] # None is Python's own way to say that there is no such module
    try:
        import_module(library)
    finally:
        for name in absent:
            del sys.modules[name]
