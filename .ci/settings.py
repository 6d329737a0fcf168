"""docs/settings.md, from the code: `make docs` writes it, tests/docs/test_papers.py compares."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from config.settings import Settings  # noqa: E402 - the sources may not be installed
from orders.client.settings import ClientSettings  # noqa: E402

PLACE: Final = ROOT / "docs" / "settings.md"
HEAD: Final = """# Settings

<!-- made from the code by `make docs` -->

Every setting is an environment variable, or a line of `.env` in the current directory. Every `RELAIS_X` may stand in a
file instead that `RELAIS_X_FILE` names, so that a secret comes as Docker and systemd hand it over; saying it twice is
an error. Options of a command go first, then the environment, then `.env`, then what a running `relais up` offers.
What a wrong value is, a command says in one sentence that names the variable.

What is not here is a constant, beside the code that it bounds, with its unit and the reason.
"""
FACTORIES: Final = {
    "data_dir": "`/var/lib/relais` for root, else `~/.local/share/relais`",
    "worker_concurrency": "number of cores",
}


def document() -> str:
    """The page."""
    parts = [HEAD]
    for name, group in Settings.groups().items():
        fields = {public: field for public, (_, field) in group.public().items()}
        parts += [f"\n## {name.capitalize()}\n\n{group.__doc__}\n", *_table(fields)]
    parts += [f"\n## Front end\n\n{ClientSettings.__doc__}\n", *_table(ClientSettings.model_fields)]
    return "\n".join(parts) + "\n"


def _table(fields: dict[str, FieldInfo]) -> list[str]:
    rows = ["| variable | type | default | what it is |", "| --- | --- | --- | --- |"]
    for public, field in fields.items():
        rows.append(f"| `RELAIS_{public.upper()}` | {_type(field)} | {_default(public, field)} | {field.description} |")
    return rows


def _type(field: FieldInfo) -> str:
    kinds = [each for each in get_args(field.annotation) or [field.annotation] if each is not type(None)]
    if get_origin(field.annotation) is Literal:
        return "word"
    kind: Any = kinds[0]
    bounds = [*field.metadata, *getattr(kind, "__metadata__", ())]  # the latter of one that may be null
    if hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    share = any(getattr(each, name, None) is not None for each in bounds for name in ("le", "lt"))
    from_zero = any(0 in (getattr(each, "gt", None), getattr(each, "ge", None)) for each in bounds)
    if kind is float:
        return "seconds" if from_zero and not share else "number"
    if kind is int:
        return "port" if any(getattr(each, "le", None) == 65535 for each in field.metadata) else "whole number"
    return {bool: "`true` or `false`", SecretStr: "secret", Path: "path"}.get(kind, "text")


def _default(public: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        return FACTORIES[public]
    value = str(field.default).lower() if isinstance(field.default, bool) else field.default
    return "" if value is None else f"`{value}`"


if __name__ == "__main__":
    PLACE.write_text(document(), encoding="utf-8")
