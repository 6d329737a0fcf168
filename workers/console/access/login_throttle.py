"""Logins: a password is looked at only when few before it were wrong, by account, by address and by both.

Failures are counted in the journal, so that all consoles and restarts share them, and before the password is looked
at, so that no number of requests at once gets past. Beyond a few each one doubles the pause until the next; while it
lasts no hash is computed and nothing is written. Where an account has logged in before, only what fails from there
for this account counts: a stranger elsewhere locks nobody out.
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from config.settings import Settings
from orders.errors import Throttled
from orders.journal import transactional
from workers.console.access.accounts import NAME
from workers.console.access.passwords import Passwords
from workers.operations import acting_as, record

log = logging.getLogger("relais.console")

FORGET: Final = 3600.0  # s after which failures are forgotten
REMEMBER: Final = 90 * 86_400.0  # s that a place counts as the account's own
PURGE: Final = 60.0  # s between two looks for rows that are over

PAUSES: Final = text("""
SELECT key, succeeded_at IS NOT NULL AS known, extract(epoch FROM until - clock_timestamp())::float8 AS wait
FROM console_logins WHERE key = ANY(:keys)
""")

TAKE: Final = text("""
INSERT INTO console_logins AS l (key, failures, at, until)
VALUES (:key, 1, clock_timestamp(), clock_timestamp())
ON CONFLICT (key) DO UPDATE SET at = clock_timestamp(),
  failures = CASE WHEN l.at < clock_timestamp() - make_interval(secs => :forget) THEN 1 ELSE l.failures + 1 END,
  until = clock_timestamp() + make_interval(secs => CASE
    WHEN l.failures < :free OR l.at < clock_timestamp() - make_interval(secs => :forget) THEN 0
    ELSE least(:longest, 2.0 ^ least(l.failures + 1 - :free, 20)) END)
WHERE l.until <= clock_timestamp() OR l.until > clock_timestamp() + make_interval(secs => :longest)
RETURNING failures
""")

GIVE_BACK: Final = text("""
UPDATE console_logins SET failures = greatest(failures - 1, 0), until = clock_timestamp() WHERE key = ANY(:keys)
""")

SUCCEEDED: Final = text("""
UPDATE console_logins SET failures = 0, until = clock_timestamp(), succeeded_at = clock_timestamp() WHERE key = :key
""")

WHO: Final = text("SELECT name, password, role, disabled_at FROM accounts WHERE name = :name")
REHASH: Final = text("UPDATE accounts SET password = :new WHERE name = :name AND password = :old")

OVER: Final = (
    text("""DELETE FROM console_logins WHERE at < clock_timestamp() - make_interval(secs => :forget)
AND (succeeded_at IS NULL OR succeeded_at < clock_timestamp() - make_interval(secs => :remember))"""),
    text("""DELETE FROM console_sessions WHERE expires_at < clock_timestamp()
OR seen_at < clock_timestamp() - make_interval(secs => :idle)"""),
)


class Count(NamedTuple):
    """What failures are counted by: `free` of them cost nothing, then pauses double up to `longest` seconds."""

    key: bytes
    free: int
    longest: float


class ProvenLogin(NamedTuple):
    """An account whose password was right, the hash that it was held against, and what it may."""

    name: str
    password: str
    role: str


def counts_of(name: str, address: str) -> tuple[Count, Count, Count]:
    """What a login is counted by, always in this order: the account, the address, and the account from there."""
    return (
        Count(_key("account", name), 50, 60.0),
        Count(_key("address", address), 20, 900.0),
        Count(_key("both", name, address), 5, 900.0),
    )


@dataclass(slots=True)
class Logins:
    """Logins by password at one console process."""

    engine: AsyncEngine
    settings: Settings
    passwords: Passwords = field(default_factory=Passwords)
    _purged: float = 0.0

    async def check(self, name: str, address: str, password: str) -> ProvenLogin | None:
        """Who has this name and password, None for nobody. Raises Throttled, with nothing looked at."""
        taken = await self._take(name, address)
        try:
            row = await self._who(name)
            fits = await self.passwords.fits(row.password if row else None, password)
        except Throttled:  # it was not looked at after all
            await self._give_back(taken)
            raise
        await self._purge()
        if row is None or not fits or row.disabled_at is not None:
            why = "no account" if row is None else "disabled" if fits else "wrong password"
            # What was typed is not logged unless it is an account's name: it may be a password.
            log.warning("login refused", extra={"account": row and row.name, "address": address, "why": why})
            return None
        await self._succeed(taken)
        return ProvenLogin(row.name, await self._renew(row.name, row.password, password), row.role)

    async def came(self, name: str, address: str) -> None:
        """Somebody logged in to this account from there by other means than a password: the place is theirs."""
        pair = counts_of(name, address)[-1]
        async with self.engine.connect() as connection:
            await connection.execute(TAKE, {**pair._asdict(), "forget": FORGET})
            await connection.execute(SUCCEEDED, {"key": pair.key})

    async def _take(self, name: str, address: str) -> list[Count]:
        """Count this login as a failure, which it is until it is known to be none. Raises Throttled."""
        counts = list(counts_of(name, address))
        async with self.engine.connect() as connection:
            found = (await connection.execute(PAUSES, {"keys": [each.key for each in counts]})).all()
        if any(row.known and row.key == counts[-1].key for row in found):
            counts = counts[-1:]
        longest = {each.key: each.longest for each in counts}
        # A pause longer than any is one that a clock which was set back has made so.
        _throttle(max((row.wait for row in found if row.wait <= longest.get(row.key, 0.0)), default=0.0))
        async with transactional(self.engine).begin() as connection:
            for each in counts:
                if (await connection.execute(TAKE, {**each._asdict(), "forget": FORGET})).first() is None:
                    _throttle(1.0)  # another came between; what this transaction counted is not
        return counts

    async def _give_back(self, taken: list[Count]) -> None:
        async with self.engine.connect() as connection:
            await connection.execute(GIVE_BACK, {"keys": [each.key for each in taken]})

    async def _succeed(self, taken: list[Count]) -> None:
        await self._give_back(taken[:-1])
        async with self.engine.connect() as connection:
            await connection.execute(SUCCEEDED, {"key": taken[-1].key})

    async def _who(self, name: str) -> Any:
        if not NAME.fullmatch(name):
            return None
        async with self.engine.connect() as connection:
            return (await connection.execute(WHO, {"name": name})).one_or_none()

    async def _renew(self, name: str, kept: str, password: str) -> str:
        """The hash with today's parameters, kept from now on."""
        if not self.passwords.outdated(kept):
            return kept
        new = await self.passwords.hashed(password)
        async with transactional(self.engine).begin() as connection:
            renewed = await connection.execute(REHASH, {"name": name, "old": kept, "new": new})
            if renewed.rowcount:
                with acting_as(name):
                    await record(connection, "account rehash", None, {"account": name})
        return new if renewed.rowcount else kept

    async def _purge(self) -> None:
        """Take out what is over, now and then."""
        if time.monotonic() - self._purged < PURGE:
            return
        self._purged = time.monotonic()
        values = {"forget": FORGET, "remember": REMEMBER, "idle": self.settings.console.idle}
        async with self.engine.connect() as connection:
            for statement in OVER:
                used = {name: value for name, value in values.items() if f":{name}" in statement.text}
                await connection.execute(statement, used)


def _throttle(wait: float) -> None:
    if wait > 0:
        raise Throttled(wait)


def _key(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).digest()
