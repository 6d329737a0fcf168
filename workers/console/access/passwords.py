"""Passwords: what one has to be, and argon2id (RFC 9106, its profile for little memory) at most two at a time.

A hash takes 64 MiB and a twentieth of a second on purpose, so it is made in threads of its own, and those who would
wait too long are told to come again: no flood of logins takes the event loop, the memory or the pages of who is in. A
name that nobody has costs the very same.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from orders.errors import Throttled
from workers.console.i18n import N_
from workers.operations import folded

T = TypeVar("T")

SHORTEST: Final = 12  # characters (NIST SP 800-63B rev. 4 wants 15 of one that stands alone, 8 at the very least)
LONGEST_PASSWORD: Final = 256
OWN: Final = 8  # characters that are left when names and common words are taken out
HASHES_AT_ONCE: Final = 2
WAITING: Final = 16  # who may wait for one of them; each waits a second at most
COMMON: Final = (
    "password",
    "passwort",
    "motdepasse",
    "azerty",
    "qwerty",
    "uiop",
    "qsdfgh",
    "asdfgh",
    "bonjour",
    "welcome",
    "bienvenue",
    "letmein",
    "iloveyou",
    "admin",
    "operateur",
    "operator",
    "approver",
    "viewer",
    "secret",
    "changeme",
    "relais",
    "pharmacie",
    "pharmacy",
    "officine",
    "grossiste",
    "repartiteur",
    "commande",
    "console",
    "marseille",
    "soleil",
    "0123456789",
    "123456",
    "654321",
)

TOO_SHORT: Final = N_("A password has 12 characters or more.")
TOO_LONG: Final = N_("A password has 256 characters or fewer.")
GUESSED: Final = N_("This password is easily guessed: names and common words do not count, nor does repetition.")


def fault_of(password: str, name: str) -> str | None:
    """What is wrong with a new password of that account, a sentence marked for translation; None for nothing."""
    if len(password) < SHORTEST:
        return TOO_SHORT
    if len(password) > LONGEST_PASSWORD:
        return TOO_LONG
    left = folded(password)
    for word in (*sorted(part for part in folded(name).split("@")[0].split(".") if len(part) > 2), *COMMON):
        left = left.replace(word, "")
    return GUESSED if len(left) < OWN or len(set(left)) < OWN // 2 + 1 else None


class Passwords:
    """Makes and checks hashes. Belongs to one process."""

    def __init__(self) -> None:
        """No thread yet."""
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(HASHES_AT_ONCE, thread_name_prefix="argon2")
        self._inside = 0
        self._nobodys = _like(self._hasher)

    def hash(self, password: str) -> str:
        """What is kept of a password; takes its time."""
        return self._hasher.hash(_same(password))

    async def hashed(self, password: str) -> str:
        """`hash`, when it is its turn. Raises Throttled when too many wait."""
        return await self._in_turn(self.hash, password)

    async def fits(self, kept: str | None, password: str) -> bool:
        """Whether this is the password that was kept; of None it never is, and that takes as long to say.

        Raises Throttled when too many wait.
        """
        found = await self._in_turn(self._verify, kept or self._nobodys, password)
        return found and kept is not None

    def outdated(self, kept: str) -> bool:
        """Whether it was kept with other parameters than today's."""
        return self._hasher.check_needs_rehash(kept)

    def close(self) -> None:
        """No more of them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_turn(self, work: Callable[..., T], *arguments: str) -> T:
        if self._inside >= HASHES_AT_ONCE + WAITING:
            raise Throttled(1.0)
        self._inside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._inside -= 1

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, _same(password))
        except (VerificationError, InvalidHashError):
            return False


def _same(password: str) -> str:
    """The same however a keyboard composes its accents (RFC 8265)."""
    return unicodedata.normalize("NFC", password)


def _like(hasher: PasswordHasher) -> str:
    """The hash of no password, with this hasher's parameters."""
    lengths = (hasher.salt_len, hasher.hash_len)
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in lengths)
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${digest}"
