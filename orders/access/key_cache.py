"""Who is asking, and what may they? The keys in force as one process knows them.

They are held in memory and read again every few seconds, asked for or not: a request costs one hash, a new key works
at once, a revoked one is out within seconds, and a journal that is down locks nobody out who was known before. A key
is found by its fingerprint, which says nothing of the rest of it, and then compared in constant time.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import math
import time
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.access.clients import IN_FORCE, USED, Scope, fingerprint_of, hash_of
from orders.access.last_read import LastRead
from orders.errors import Forbidden, JournalDown, Unauthorised
from orders.journal import unreachable

log = logging.getLogger("relais.keys")

USE_WRITTEN: Final = 30.0  # seconds between two writings of when keys were used
WRITE_TIMEOUT: Final = 0.5  # seconds for one: a row that another holds must not keep a revoked key in force


@dataclass(frozen=True, slots=True)
class Caller:
    """A client that showed a key in force: its name, what the key opens, whom it may order for, its rate."""

    name: str
    scopes: frozenset[str]
    pharmacies: frozenset[str] | None
    rate: float | None
    burst: int | None
    ends: float  # by the monotonic clock
    hash: bytes = field(repr=False)

    def need(self, scope: Scope) -> None:
        """Raise Forbidden unless the key opens `scope`."""
        if scope not in self.scopes:
            raise Forbidden(f"this API key lacks the scope {scope}")

    def need_pharmacy(self, pharmacy: str) -> None:
        """Raise Forbidden unless the client may order, and so read, for this pharmacy."""
        if not self.may_order_for(pharmacy):
            raise Forbidden("this client may not order for this pharmacy")

    def may_order_for(self, pharmacy: str) -> bool:
        """True when the pharmacy is among the client's, or any is."""
        return self.pharmacies is None or pharmacy in self.pharmacies

    @property
    def readable(self) -> frozenset[str] | None:
        """The pharmacies whose orders it may read, None for any: those it may order for; operations read all."""
        return None if Scope.OPS in self.scopes else self.pharmacies


class KeyCache:
    """The keys in force. One instance per process and event loop; it reads on from its first use until `close`."""

    def __init__(self, engine: AsyncEngine, *, refresh: float = 3.0, impatience: float = 0.5) -> None:
        """Read again every `refresh` seconds, and for an unknown key every `impatience` seconds at most."""
        self._engine, self._impatience = engine, impatience
        self._callers: LastRead[dict[str, Caller]] = LastRead(self._read, {}, every=refresh)
        self._used: dict[str, float] = {}
        self._written_at = time.monotonic()

    async def caller(self, authorization: str | None, *, basic: bool = False) -> Caller:
        """The client behind `Authorization: Bearer …`, or `Basic …` whose password is the key where `basic` is true.

        Raises Unauthorised, and JournalDown where a key that is not known cannot be looked up.
        """
        if (found := self.known(authorization, basic=basic)) is not None:
            return found
        hashed = hash_of(_shown(authorization or "", basic))
        await self._callers.within(self._impatience)
        caller = self._known(hashed)
        if caller is None and self._callers.blind:
            raise JournalDown("the journal is out of reach, and this API key is not known without it")
        if caller is None:
            raise Unauthorised("this API key is not in force")
        return self._note(caller)

    def known(self, authorization: str | None, *, basic: bool = False) -> Caller | None:
        """The client, if the key is known already. Raises Unauthorised where none is shown."""
        caller = self._known(hash_of(_shown(authorization or "", basic)))
        return None if caller is None else self._note(caller)

    def _note(self, caller: Caller) -> Caller:
        self._used[fingerprint_of(caller.hash)] = time.time()
        return caller

    async def close(self) -> None:
        """Write which keys were used since the last time, and read no more."""
        await self._callers.rest()
        self._written_at = float("-inf")
        if self._used:
            await self._callers.within(0.0)
            await self._callers.rest()

    def _known(self, hashed: bytes) -> Caller | None:
        found = self._callers.value.get(fingerprint_of(hashed))
        if found is None or not hmac.compare_digest(found.hash, hashed):
            return None
        return found if found.ends > time.monotonic() else None

    async def _read(self) -> dict[str, Caller]:
        async with self._engine.connect() as connection:
            asked = time.monotonic()
            rows = (await connection.execute(IN_FORCE)).all()
            try:
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await self._write(connection)
            except Exception as error:  # the keys are in force all the same
                if not unreachable(error):
                    log.exception("when keys were used cannot be written")
        return {row.fingerprint: _caller(row, asked) for row in rows}

    async def _write(self, connection: AsyncConnection) -> None:
        """Write when each key was last used, every half minute."""
        if not self._used or time.monotonic() - self._written_at < USE_WRITTEN:
            return
        used = dict(self._used)
        await connection.execute(USED, {"fingerprints": [*used], "times": [*used.values()]})
        self._written_at = time.monotonic()
        self._used = {key: at for key, at in self._used.items() if used.get(key) != at}


def _caller(row: Row[Any], asked: float) -> Caller:
    pharmacies = None if row.pharmacies is None else frozenset(row.pharmacies)
    ends = math.inf if row.lasts is None else asked + row.lasts
    return Caller(row.client, frozenset(row.scopes), pharmacies, row.rate, row.burst, ends, bytes(row.hash))


def bearer_of(authorization: str) -> str:
    """What the header shows as `Bearer …`, in whatever letters that is written (RFC 9110, 11.1); "" for nothing."""
    scheme, _, shown = authorization.partition(" ")
    return shown.strip() if scheme.lower() == "bearer" else ""


def _shown(authorization: str, basic: bool) -> str:
    """The key that a header shows. Raises Unauthorised."""
    if shown := bearer_of(authorization):
        return shown
    scheme, _, shown = authorization.partition(" ")
    if basic and scheme.lower() == "basic":
        try:
            password = base64.b64decode(shown.strip(), validate=True).decode().partition(":")[2]
        except ValueError:  # no base64, no ASCII, no UTF-8
            password = ""
        if password:
            return password
    raise Unauthorised("an API key is needed: Authorization: Bearer …")
