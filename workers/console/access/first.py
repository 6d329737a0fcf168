"""The first account of an installation that `relais up` made: there before anybody is, let in by a link, once.

It is made while there is no account at all, and its password is a secret that only the link holds. Whoever opens the
link chooses another one, and the link is used up; it makes no second account, so four eyes stay two people's.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from sqlalchemy import text

from config.embedded.files import write_private
from config.settings import Settings
from orders.journal import connect
from workers.console.access import accounts
from workers.console.access.passwords import Passwords
from workers.console.access.people import Role
from workers.operations import folded, operator

FILE: Final = "first-account.json"  # of the data directory, its owner's alone, until the link was used
PATH: Final = "/first"
ADMIN: Final = "admin"

KNOWN: Final = text("SELECT name, password FROM accounts ORDER BY created_at LIMIT 2")


async def first_link(settings: Settings) -> str | None:
    """The path at which the first account chooses its password; None once somebody did, or was let in otherwise."""
    file = settings.files.data_dir / FILE
    engine, passwords = connect(settings.need("database_url"), pool=1), Passwords()
    try:
        async with engine.connect() as connection:
            known = (await connection.execute(KNOWN)).all()
        if not known:
            kept = {"name": _name(), "secret": secrets.token_urlsafe(32)}
            write_private(file, json.dumps(kept) + "\n")
            password = await passwords.hashed(kept["secret"])
            await accounts.add(engine, kept["name"], Role.APPROVER, password=password)
            return f"{PATH}?{urlencode(kept)}"
        kept, first = _kept(file), known[0]
        if len(known) == 1 and first.name == kept.get("name") and await passwords.fits(first.password, kept["secret"]):
            return f"{PATH}?{urlencode(kept)}"
        file.unlink(missing_ok=True)
        return None
    finally:
        passwords.close()
        await engine.dispose()


def _kept(file: Path) -> dict[str, str]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _name() -> str:
    """The operator's own, where an account can go by it."""
    name = folded(operator())
    return name if accounts.NAME.fullmatch(name) and name not in accounts.RESERVED else ADMIN
