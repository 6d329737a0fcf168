"""Sessions: a random token in the browser, its SHA-256 in the journal, so that whoever reads the journal is nobody.

A session ends when it was not used for RELAIS_CONSOLE_IDLE seconds, RELAIS_CONSOLE_SESSION seconds after its login at
the latest, with a logout, and as soon as its account is disabled. While the journal is out of reach those that were
found a moment ago still count, for looking: no act works without the journal.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.journal import unreachable
from workers.console.access.people import Person, Role

COOKIE: Final = "__Host-relais"  # only over TLS or on loopback, only to us, not to scripts (RFC 6265bis, 4.1.3.2)
PATIENCE: Final = 1.5  # seconds that a page waits for the journal to say who comes
AGAIN: Final = 2.0  # seconds after which a journal that was out is asked again
FRESH: Final = 2.0  # seconds that a session is taken for what it was when it was last looked up

BEGIN: Final = text("""
INSERT INTO console_sessions (digest, account, expires_at)
VALUES (:digest, :account, clock_timestamp() + make_interval(secs => :whole))
""")

FIND: Final = text("""
SELECT a.name, a.role FROM console_sessions s JOIN accounts a ON a.name = s.account
WHERE s.digest = :digest AND a.disabled_at IS NULL AND s.expires_at > clock_timestamp()
  AND s.seen_at > clock_timestamp() - make_interval(secs => :idle)
""")

SEEN: Final = text("UPDATE console_sessions SET seen_at = clock_timestamp() WHERE digest = :digest")
END: Final = text("DELETE FROM console_sessions WHERE digest = :digest")


@dataclass(slots=True)
class _Known:
    person: Person | None
    looked: float  # by the monotonic clock


@dataclass(slots=True)
class Sessions:
    """The sessions as one console process knows them. Belongs to one event loop."""

    engine: AsyncEngine
    settings: Settings
    _known: dict[bytes, _Known] = field(default_factory=dict)
    _out_until: float = float("-inf")  # by the monotonic clock

    async def begin(self, account: str) -> str:
        """A new session of an account; returns its token. Raises what the journal raises."""
        token = secrets.token_urlsafe(32)
        values = {"digest": _digest(token), "account": account, "whole": self.settings.console_session}
        async with self.engine.connect() as connection:
            await connection.execute(BEGIN, values)
        return token

    async def find(self, token: str | None) -> Person | None:
        """Whose session it is; None for none that is in force."""
        if not token:
            return None
        digest = _digest(token)
        known = self._known.get(digest)
        if known is not None and time.monotonic() - known.looked < FRESH:
            return known.person
        if known is not None and time.monotonic() < self._out_until:
            return known.person
        try:
            async with asyncio.timeout(PATIENCE):
                person = await self._look(token, digest)
        except Exception as error:
            if not unreachable(error):
                raise
            self._out_until = time.monotonic() + AGAIN
            return known.person if known is not None else None
        self._remember(digest, person)
        return person

    async def end(self, token: str) -> None:
        """Log out."""
        self._known.pop(_digest(token), None)
        async with self.engine.connect() as connection:
            await connection.execute(END, {"digest": _digest(token)})

    async def _look(self, token: str, digest: bytes) -> Person | None:
        values = {"digest": digest, "idle": self.settings.console_idle}
        async with self.engine.connect() as connection:
            row = (await connection.execute(FIND, values)).one_or_none()
            if row is None:
                return None
            await connection.execute(SEEN, {"digest": digest})
        return Person(row.name, Role(row.role), csrf_of(token))

    def _remember(self, digest: bytes, person: Person | None) -> None:
        if person is None:
            self._known.pop(digest, None)
        else:
            self._known[digest] = _Known(person, time.monotonic())


def csrf_of(token: str) -> str:
    """What the forms of a session have to bring along; it tells nothing of the token."""
    return hmac.digest(token.encode(), b"csrf", "sha256").hex()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
