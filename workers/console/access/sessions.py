"""Sessions: a random token in the browser, its SHA-256 in the journal, so that whoever reads the journal is nobody.

A session ends when it was not used for RELAIS_CONSOLE_IDLE seconds, RELAIS_CONSOLE_SESSION seconds after its login at
the latest, with a logout, and as soon as its account is disabled or gets another role or password. While the journal
is out of reach those that were found before still count, for looking: no act works without the journal.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.errors import Unauthorised
from orders.journal import unreachable
from workers.console.access.people import Person, Role
from workers.console.within import promptly

COOKIE: Final = "__Host-relais"  # only over TLS or on loopback, only to us, not to scripts (RFC 6265bis, 4.1.3.2)
FIND_TIMEOUT: Final = 1.0  # seconds that a page waits for the journal to say who comes
AGAIN: Final = 2.0  # seconds after which a journal that was out is asked again
FRESH: Final = 2.0  # seconds that a session is taken for what it was when it was last looked up
SEEN_EVERY: Final = 30.0  # seconds between two notes that it is in use
KNOWN: Final = 2_000  # sessions that a process remembers
LONGEST_TOKEN: Final = 128  # characters that a token may have; ours have 43

# Waits for a change of the account that is under way, and counts for nothing once it is through.
BEGIN: Final = text("""
INSERT INTO console_sessions (digest, account, expires_at, address)
SELECT :digest, a.name, clock_timestamp() + make_interval(secs => :whole), :address
FROM (SELECT name FROM accounts WHERE name = :account AND disabled_at IS NULL
  AND (CAST(:password AS text) IS NULL OR password = :password) FOR SHARE) AS a
""")

FIND: Final = text("""
SELECT a.name, a.role, extract(epoch FROM s.expires_at - clock_timestamp())::float8 AS left,
  extract(epoch FROM clock_timestamp() - s.seen_at)::float8 AS idle
FROM console_sessions s JOIN accounts a ON a.name = s.account
WHERE s.digest = :digest AND a.disabled_at IS NULL AND s.expires_at > clock_timestamp()
  AND s.seen_at > clock_timestamp() - make_interval(secs => :idle)
""")

SEEN: Final = text("UPDATE console_sessions SET seen_at = clock_timestamp() WHERE digest = :digest")
END: Final = text("DELETE FROM console_sessions WHERE digest = :digest")
OTHERS: Final = text("DELETE FROM console_sessions WHERE account = :account AND digest <> :digest")
OF: Final = text("""
SELECT created_at, seen_at, address, digest = :digest AS this FROM console_sessions
WHERE account = :account AND expires_at > clock_timestamp()
  AND seen_at > clock_timestamp() - make_interval(secs => :idle) ORDER BY created_at DESC LIMIT 50
""")


class Unasked(ConnectionError):
    """Nobody knows whose session it is: the journal would."""


@dataclass(slots=True)
class _Known:
    person: Person
    looked: float  # by the monotonic clock, as the others
    until: float
    used: float


@dataclass(slots=True)
class Sessions:
    """The sessions as one console process knows them. Belongs to one event loop."""

    engine: AsyncEngine
    settings: Settings
    _known: OrderedDict[bytes, _Known] = field(default_factory=OrderedDict)
    _out_until: float = float("-inf")  # by the monotonic clock

    async def begin(self, account: str, *, password: str | None = None, address: str | None = None) -> str:
        """A new session of an account; returns its token.

        With `password`, the hash that was proven, only while the account still has that one. Raises Unauthorised when
        the account is disabled or changed, and what the journal raises.
        """
        token = secrets.token_urlsafe(32)
        values = {
            "digest": _digest(token),
            "account": account,
            "whole": self.settings.console.session,
            "password": password,
            "address": address,
        }
        async with self.engine.connect() as connection:
            begun = await connection.execute(BEGIN, values)
        if not begun.rowcount:
            raise Unauthorised(f"the account {account} is disabled, or was changed just now")
        return token

    async def find(self, token: str | None) -> Person | None:
        """Whose session it is; None for none that is in force.

        Raises Unasked when the journal is out of reach and nobody was found by it before.
        """
        if not token or len(token) > LONGEST_TOKEN:
            return None
        digest, now = _digest(token), time.monotonic()
        known = self._known.get(digest)
        if known is not None and now - known.looked < FRESH:
            known.used = now
            return known.person
        if known is not None and now < self._out_until:
            return self._remembered(known, now)
        try:
            found = await promptly(FIND_TIMEOUT, self._look(digest))
        except Exception as error:
            if not unreachable(error):
                raise
            self._out_until = time.monotonic() + AGAIN
            if known is None:
                raise Unasked("the journal cannot be asked whose session this is") from error
            return self._remembered(known, now)
        if found is None:
            self._known.pop(digest, None)
            return None
        person = Person(found.name, Role(found.role), csrf_of(token))
        self._remember(digest, _Known(person, now, now + found.left, now))
        return person

    async def end(self, token: str) -> None:
        """Log out."""
        self._known.pop(_digest(token), None)
        async with self.engine.connect() as connection:
            await connection.execute(END, {"digest": _digest(token)})

    async def end_others(self, account: str, token: str) -> int:
        """End all sessions of an account but this; how many there were."""
        async with self.engine.connect() as connection:
            ended = await connection.execute(OTHERS, {"account": account, "digest": _digest(token)})
        for digest in [digest for digest, known in self._known.items() if known.person.name == account]:
            del self._known[digest]
        return ended.rowcount

    async def of(self, account: str, token: str) -> list[dict[str, Any]]:
        """An account's sessions in force, the newest first: created_at, seen_at, address, this."""
        values = {"account": account, "digest": _digest(token), "idle": self.settings.console.idle}
        async with self.engine.connect() as connection:
            return [dict(row) for row in (await connection.execute(OF, values)).mappings()]

    async def _look(self, digest: bytes) -> Any:
        idle = self.settings.console.idle
        async with self.engine.connect() as connection:
            row = (await connection.execute(FIND, {"digest": digest, "idle": idle})).one_or_none()
            if row is not None and row.idle > min(SEEN_EVERY, idle / 10):
                await connection.execute(SEEN, {"digest": digest})
        return row

    def _remembered(self, known: _Known, now: float) -> Person | None:
        """Whose it was, by what this process knows, while nobody can be asked."""
        if now > known.until or now - known.used > self.settings.console.idle:
            return None
        known.used = now
        return known.person

    def _remember(self, digest: bytes, known: _Known) -> None:
        self._known[digest] = known
        self._known.move_to_end(digest)
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)


def csrf_of(token: str) -> str:
    """What the forms of a session have to bring along; it tells nothing of the token."""
    return hmac.digest(token.encode(), b"csrf", "sha256").hex()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
