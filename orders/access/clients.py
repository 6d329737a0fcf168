"""Clients and their API keys: 256 random bits, shown once, stored as SHA-256 (nothing to guess, so nothing to slow).

A client may hold several keys in force, so that a key is renewed with an overlap and no order is turned away; a key
that is out of force stays listed. Every act may carry another (`also`) in its transaction: the record of who did it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import Fault, Malformed, NotFound, RelaisError
from orders.identifiers import CUSTOMER_CODE
from orders.journal import transactional
from orders.schema.tables.clients import clients, keys

Also = Callable[[AsyncConnection], Awaitable[None]]
AlsoEach = Callable[[AsyncConnection, str], Awaitable[None]]  # the client's name
PREFIX: Final = "relais_"
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FINGERPRINT: Final = 12  # hexadecimal digits of a key's hash by which it is listed
RATES: Final = (0.001, 1_000_000.0)  # orders a second
NO_LIMIT: Final = RATES[1]  # a rate that is none
BURSTS: Final = (1, 1_000_000)  # orders


class Scope(StrEnum):
    """What a key opens."""

    WRITE = "orders:write"  # hand over and cancel orders
    READ = "orders:read"  # see what became of them
    OPS = "ops"  # everybody's orders, and the metrics


FRONT_END: Final = (Scope.WRITE, Scope.READ)

IN_FORCE = text("""
SELECT k.hash, k.fingerprint, k.client, k.scopes, c.pharmacies, c.rate, c.burst,
  extract(epoch FROM k.expires_at - now())::float8 AS lasts
FROM keys k JOIN clients c ON c.name = k.client WHERE k.expires_at IS NULL OR k.expires_at > now()
""")

# The scopes of a client are those of its newest key; those of one that was revoked are not given again.
HOLDERS = text("""
SELECT DISTINCT ON (client) client, scopes FROM keys
WHERE (expires_at IS NULL OR expires_at > now()) AND (CAST(:name AS text) IS NULL OR client = :name)
ORDER BY client, created_at DESC
""")

EXPIRE = text("""
UPDATE keys SET expires_at = now() + :overlap
WHERE client = :name AND (expires_at IS NULL OR expires_at > now() + :overlap)
""")

# `times` in seconds since 1970; another process may have written a later one.
USED = text("""
UPDATE keys SET last_used_at = greatest(last_used_at, to_timestamp(used.at))
FROM unnest(CAST(:fingerprints AS text[]), CAST(:times AS float8[])) AS used (fingerprint, at)
WHERE keys.fingerprint = used.fingerprint
""")

SCOPES = text("""
UPDATE keys SET scopes = :scopes WHERE client = :name AND (expires_at IS NULL OR expires_at > now())
""")


class ClientExists(RelaisError):
    """A client of this name was added before."""


def hash_of(key: str) -> bytes:
    """What is stored of a key: 32 bytes."""
    return hashlib.sha256(key.encode()).digest()


def fingerprint_of(hashed: bytes) -> str:
    """What a key is listed by."""
    return hashed.hex()[:FINGERPRINT]


async def add(
    engine: AsyncEngine,
    name: str,
    also: Also | None = None,
    *,
    scopes: Sequence[Scope] = FRONT_END,
    pharmacies: Sequence[str] | None = None,
    rate: float | None = None,
    burst: int | None = None,
) -> str:
    """Make a client and return its key, which is stored nowhere.

    `pharmacies` that it may order for, None for any; `rate` in orders a second, `burst` in orders, None for the
    default. Raises Malformed and ClientExists.
    """
    values = {"pharmacies": None if pharmacies is None else sorted({*pharmacies}), "rate": rate, "burst": burst}
    _check(name, values)
    try:
        async with transactional(engine).begin() as connection:
            await connection.execute(insert(clients).values(name=name, **values))
            key = await _issue(connection, name, scopes)
            if also is not None:
                await also(connection)
    except IntegrityError:
        raise ClientExists(f"client {name} exists already") from None
    return key


async def change(
    engine: AsyncEngine,
    name: str,
    values: Mapping[str, Any],
    also: Also | None = None,
    *,
    scopes: Sequence[Scope] | None = None,
) -> None:
    """Change a client within seconds everywhere: what `values` names of `pharmacies`, `rate` and `burst`, None as in
    `add`; and what its keys in force open, unless `scopes` is None. Raises Malformed and NotFound.
    """
    _check(name, values)
    async with transactional(engine).begin() as connection:
        found = await connection.execute(select(clients.c.name).where(clients.c.name == name).with_for_update())
        if found.first() is None:
            raise NotFound(f"no client {name}")
        if values:
            await connection.execute(update(clients).where(clients.c.name == name).values(**values))
        if scopes is not None:
            changed = await connection.execute(SCOPES, {"name": name, "scopes": [*map(str, scopes)]})
            if changed.rowcount == 0:
                raise NotFound(f"no client {name} with a key in force")
        if also is not None:
            await also(connection)


async def rotate(
    engine: AsyncEngine, name: str | None, overlap: timedelta, also: AlsoEach | None = None
) -> dict[str, str]:
    """A new key for a client, or for every client that has one in force: name → key, which is stored nowhere.

    The old keys stay in force for `overlap`, none of them longer than it would have; all clients are renewed or none.
    Raises NotFound.
    """
    made: dict[str, str] = {}
    async with transactional(engine).begin() as connection:
        for holder, scopes in (await connection.execute(HOLDERS, {"name": name})).all():
            await connection.execute(EXPIRE, {"name": holder, "overlap": overlap})
            made[holder] = await _issue(connection, holder, scopes)
            if also is not None:
                await also(connection, holder)
        if not made:
            raise NotFound(f"no client {name} with a key in force" if name else "no client has a key in force")
    return made


async def revoke(engine: AsyncEngine, name: str, also: Also | None = None) -> None:
    """Put all of a client's keys out of force, within seconds everywhere. Raises NotFound."""
    async with transactional(engine).begin() as connection:
        changed = await connection.execute(EXPIRE, {"name": name, "overlap": timedelta(0)})
        if changed.rowcount == 0:
            raise NotFound(f"no client {name} with a key in force")
        if also is not None:
            await also(connection)


async def every(engine: AsyncEngine) -> list[dict[str, Any]]:
    """All keys with what their clients may: client, key (fingerprint), scopes, times, pharmacies, rate, burst."""
    query = (
        select(
            keys.c.client,
            keys.c.fingerprint.label("key"),
            keys.c.scopes,
            keys.c.created_at,
            keys.c.expires_at,
            keys.c.last_used_at,
            clients.c.pharmacies,
            clients.c.rate,
            clients.c.burst,
        )
        .join(clients, clients.c.name == keys.c.client)
        .order_by(keys.c.client, keys.c.created_at)
    )
    async with engine.connect() as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings()]


async def _issue(connection: AsyncConnection, name: str, scopes: Sequence[str]) -> str:
    key = PREFIX + secrets.token_urlsafe(32)
    hashed = hash_of(key)
    values = {"fingerprint": fingerprint_of(hashed), "hash": hashed, "client": name, "scopes": [*map(str, scopes)]}
    await connection.execute(insert(keys).values(values))
    return key


def _check(name: str, values: Mapping[str, Any]) -> None:
    """Raise Malformed, naming every fault, unless name, pharmacies, rate and burst can be ones."""
    faults = []
    if not NAME.fullmatch(name):
        faults.append(Fault("name", None, "letters, digits, dot, dash and underscore, 64 at most"))
    if not all(re.fullmatch(CUSTOMER_CODE, pharmacy) for pharmacy in values.get("pharmacies") or ()):
        faults.append(Fault("pharmacies", None, "codes are letters, digits, dot, dash and underscore, 32 at most"))
    for field, (least, most), unit in (("rate", RATES, "orders a second"), ("burst", BURSTS, "orders")):
        if (value := values.get(field)) is not None and not least <= value <= most:
            faults.append(Fault(field, None, f"from {least:g} to {most:,.0f} {unit}"))
    if faults:
        raise Malformed(faults)
