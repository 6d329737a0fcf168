"""API keys of the front ends: 256 random bits, shown once, stored as SHA-256 (nothing to guess, so nothing to slow).

The keyring holds the keys in force in memory and reads them again every few seconds: a request costs one hash,
a new key works at once, a revoked one is out within seconds, and a journal that is down locks nobody out.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import Fault, JournalDown, Malformed, NotFound, RelaisError, Unauthorised
from orders.journal import transactional, unreachable
from orders.tables import NOW, clients

Also = Callable[[AsyncConnection], Awaitable[None]]
PREFIX = "relais_"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ClientExists(RelaisError):
    """A client of this name was added before."""


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


async def add(engine: AsyncEngine, name: str, also: Also | None = None) -> str:
    """Make a client and return its key, which is stored nowhere; `also` runs in the same transaction.

    Raises Malformed and ClientExists.
    """
    if not NAME.fullmatch(name):
        raise Malformed([Fault("name", None, "letters, digits, dot, dash and underscore, 64 at most")])
    key = PREFIX + secrets.token_urlsafe(32)
    try:
        async with transactional(engine).begin() as connection:
            await connection.execute(insert(clients).values(name=name, key_hash=_hash(key)))
            if also is not None:
                await also(connection)
    except IntegrityError:
        raise ClientExists(f"client {name} exists already") from None
    return key


async def every(engine: AsyncEngine) -> list[dict[str, object]]:
    """All clients: name, created_at, revoked_at."""
    query = select(clients.c.name, clients.c.created_at, clients.c.revoked_at).order_by(clients.c.name)
    async with engine.connect() as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings()]


async def revoke(engine: AsyncEngine, name: str, also: Also | None = None) -> None:
    """Put a client's key out of force, within seconds everywhere; `also` as for `add`. Raises NotFound."""
    statement = update(clients).where(clients.c.name == name, clients.c.revoked_at.is_(None))
    async with transactional(engine).begin() as connection:
        changed = await connection.execute(statement.values(revoked_at=NOW))
        if changed.rowcount == 0:
            raise NotFound(f"no client {name} with a key in force")
        if also is not None:
            await also(connection)


class Keyring:
    """The keys in force, as one process knows them."""

    def __init__(self, engine: AsyncEngine, *, refresh: float = 3.0, impatience: float = 0.5) -> None:
        """Read again every `refresh` seconds, and for an unknown key every `impatience` seconds at most."""
        self._engine = engine
        self._refresh = refresh
        self._impatience = impatience
        self._names: dict[bytes, str] | None = None
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def client(self, authorization: str | None) -> str:
        """The client behind an `Authorization: Bearer …` header. Raises Unauthorised and JournalDown."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Unauthorised("an API key is needed: Authorization: Bearer …")
        hashed = _hash(key.strip())
        known = self._names is not None and hashed in self._names
        if time.monotonic() - self._read_at > (self._refresh if known else self._impatience):
            self._read_at = time.monotonic()
            self._reading = asyncio.get_running_loop().create_task(self._read())
        if not known and self._reading is not None:
            await asyncio.shield(self._reading)
        if self._names is None:
            raise JournalDown("the journal is out of reach")
        if hashed not in self._names:
            raise Unauthorised("this API key is not in force")
        return self._names[hashed]

    async def _read(self) -> None:
        """Read the keys; a journal out of reach leaves those last known in force."""
        query = select(clients.c.key_hash, clients.c.name).where(clients.c.revoked_at.is_(None))
        try:
            async with self._engine.connect() as connection:
                self._names = {row[0]: row[1] for row in await connection.execute(query)}
        except Exception as error:
            if not unreachable(error):
                raise
