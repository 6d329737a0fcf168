"""The journal's users: a role for each process, `DATABASE_PROCESS`, so that two journals of one server share none.

Their passwords are files `postgres_PROCESS` in one folder, which `relais admin secrets` makes and RELAIS_DATABASE_ROLES
names to `relais admin migrate`, which makes the roles. What each may do there is `orders.schema.rights`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from config.settings.process_secrets import SECRETS
from config.settings.sources import with_password

PROCESSES: Final = tuple(name for name, own in SECRETS.items() if "database_url" in own)


def role_of(database: str, process: str) -> str:
    """What the role of a process is called."""
    return f"{database}_{process}"


def secret_of(process: str) -> str:
    """What the file with its password is called."""
    return f"postgres_{process}"


def passwords_in(directory: Path) -> dict[str, str]:
    """The passwords by process. OSError naming the one that cannot be read."""
    return {each: (directory / secret_of(each)).read_text("utf-8").rstrip("\r\n") for each in PROCESSES}


def url_as(url: str, process: str, password: str) -> str:
    """The URL of the journal for a process, whatever user it names."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    role = role_of(urlsplit(f"//host/{path}").path.removeprefix("/"), process)
    return with_password(f"{scheme}://{role}@{authority.rpartition('@')[2]}{slash}{path}", password)


def urls_as(url: str, passwords: Mapping[str, str]) -> dict[str, str]:
    """The same for all, by process."""
    return {process: url_as(url, process, password) for process, password in passwords.items()}
