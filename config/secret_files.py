"""The secrets of an installation, each in a file of its own, and the ACL file of its Redis made from them.

Made once, all at a time, and never made again: what is there stays, so that a second run only adds what a newer
version needs. Remove a file to have that secret renewed. The ACL file follows the passwords at every run.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from config.acl import USERS, acl_file
from config.embedded.files import write_private
from config.journal_roles import PROCESSES, secret_of

ACL: Final = "users.acl"


def _password() -> str:
    return secrets.token_urlsafe(32)


MADE: Final[Mapping[str, Callable[[], str]]] = {
    "postgres_owner": _password,
    **{secret_of(process): _password for process in PROCESSES},
    **{f"valkey_{user}": _password for user in USERS},
    "spill_key": _password,
    "seal_key": lambda: secrets.token_hex(32),
    "flower_auth": lambda: f"relais:{_password()}",
    "metrics_token": _password,
    "grafana_admin": _password,
}


def make_secrets(directory: Path, group: int | None = None) -> list[str]:
    """Make what is missing in `directory` and write its ACL file; the names of the secrets that are new.

    For their owner alone, or, with `group` (a number), readable by that group too. OSError when that cannot be.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = [name for name in MADE if not (directory / name).exists()]
    for name in new:
        write_private(directory / name, MADE[name]() + "\n")
    write_private(directory / ACL, acl_of(directory))
    for path in (directory / name for name in (*MADE, ACL)):
        _open_to(path, group)
    return new


def acl_of(directory: Path) -> str:
    """The ACL file for the passwords in `directory`. OSError naming the one that cannot be read."""
    return acl_file({user: (directory / f"valkey_{user}").read_text("utf-8").rstrip("\n") for user in USERS})


def _open_to(path: Path, group: int | None) -> None:
    if group is not None:
        os.chown(path, -1, group)
    path.chmod(0o600 if group is None else 0o640)
