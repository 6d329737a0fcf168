"""Who a test's processes are in the journal: each logs in by the role that it has in production, so that a right which
is missing shows. Its owner sets up and looks (`owner_url`, `journal`). The roles are the cluster's, made once: those of
a journal called `relais`, whatever a test's own is called.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from config.acl import OPS
from config.embedded.postgres import DATABASE, USER
from config.journal_roles import PROCESSES, role_of
from config.settings.sources import with_password
from orders.journal import connect

PASSWORDS: Final = {process: f"of {process}" for process in PROCESSES}
OWNER: Final = "setting_up"  # who sets up and looks
SUPERUSER: Final = f"CREATE ROLE {role_of(DATABASE, OWNER)} SUPERUSER LOGIN PASSWORD '{OWNER}'"
OURS: Final = (USER, *(role_of(DATABASE, each) for each in (OWNER, *PROCESSES)))
# Whose code a folder's tests are about; nobody's: the owner's.
ROOMS: Final = {
    "acceptance": None,  # its processes are started, each with its own; the rest sets up and looks
    "orders/journal": None,
    "orders/schema": None,
    "orders": "api",
    "workers/cli": OPS,
    "workers/console": "console",
    "workers/forecast": OPS,
    "workers/monitoring": "exporter",
    "workers/reconcile": OPS,
    "workers/replay": OPS,
    "workers": "worker",
}


def login(url: str, who: str | None) -> str:
    """A test's journal as the role of a process, or as who sets up; nobody's, or another's, is as it was."""
    ours = re.match(rf"(postgresql://)(?:{'|'.join(OURS)}):[^@/]*(@.*)", url)
    if ours is None or (who != OWNER and who not in PASSWORDS):
        return url
    return with_password(f"{ours[1]}{role_of(DATABASE, who)}{ours[2]}", PASSWORDS.get(who, OWNER))


def above(url: str) -> str:
    """The same journal as who sets up and looks."""
    return login(url, OWNER)


class Logins(dict[str, AsyncEngine]):
    """The journal of a URL as each process, connected to when somebody asks for it."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def __missing__(self, who: str) -> AsyncEngine:
        return self.setdefault(who, connect(login(self._url, who)))


@asynccontextmanager
async def logged_in_to(url: str) -> AsyncIterator[Logins]:
    """As whom you like, as long as it is open."""
    logins = Logins(url)
    try:
        yield logins
    finally:
        for engine in logins.values():
            await engine.dispose()


def process_of(path: Path) -> str | None:
    """The process that a test's file is about."""
    place = path.relative_to(Path(__file__).parents[1]).as_posix()
    return next((process for room, process in ROOMS.items() if place.startswith(f"{room}/")), OPS)


def logged_in(env: Mapping[str, str], command: Sequence[str]) -> dict[str, str]:
    """The environment in which this command of `relais` runs."""
    url = env.get("RELAIS_DATABASE_URL")
    if url is None or [*command[:2]] == ["admin", "migrate"]:
        return {**env}
    process = next((word for word in command[:1] if word in PASSWORDS), OPS)
    return {**env, "RELAIS_DATABASE_URL": login(url, process)}
