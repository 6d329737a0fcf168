"""The keys that sign a backend's receipts: Ed25519 public keys, registered, rotated with an overlap, revoked.

Only public keys are here; the private one never leaves the signer. A key that is out of force stays listed, so that
what it signed can be verified for ever. Every act may carry another (`also`) in its transaction: who did it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import RowMapping, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from orders.errors import Fault, Malformed, NotFound, NotSo
from orders.journal import transactional
from orders.schema.tables.trust import receipt_keys

Also = Callable[[AsyncConnection], Awaitable[None]]
KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
RAW: Final = 32  # bytes of an Ed25519 public key

EXPIRE = text("""
UPDATE receipt_keys SET expires_at = now() + :overlap
WHERE backend = :backend AND key_id <> :key_id AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > now() + :overlap) RETURNING key_id
""")

REVOKE = text("""
UPDATE receipt_keys SET revoked_at = now(), why = :why
WHERE backend = :backend AND key_id = :key_id AND revoked_at IS NULL
""")


def read_public(data: bytes) -> bytes:
    """The 32 bytes of a public key from PEM, or from base64 of the bare key. Raises Malformed."""
    try:
        if b"-----BEGIN" not in data:
            raw = base64.b64decode(data.strip(), validate=True)
            if len(raw) == RAW:
                return raw
        elif isinstance(key := load_pem_public_key(data), Ed25519PublicKey):
            return key.public_bytes_raw()
    except (ValueError, binascii.Error, UnsupportedAlgorithm):
        pass
    raise Malformed([Fault("key", None, "is no Ed25519 public key, in PEM or as base64 of its 32 bytes")])


def fingerprint(public: bytes) -> str:
    """The id of a key that was given none."""
    return hashlib.sha256(public).hexdigest()[:16]


async def add(engine: AsyncEngine, backend: str, public: bytes, key_id: str | None, also: Also | None = None) -> str:
    """Register a key and return its id. Raises Malformed, and NotSo when the backend has that id already."""
    async with transactional(engine).begin() as connection:
        added = await _add(connection, backend, public, key_id)
        if also is not None:
            await also(connection)
    return added


async def rotate(
    engine: AsyncEngine, backend: str, public: bytes, key_id: str | None, overlap: timedelta, also: Also | None = None
) -> tuple[str, list[str]]:
    """Register a key; those in force end after `overlap`, none later than it would have. Its id, and theirs.

    Raises as `add`.
    """
    async with transactional(engine).begin() as connection:
        added = await _add(connection, backend, public, key_id)
        values = {"backend": backend, "key_id": added, "overlap": overlap}
        ending = sorted(row[0] for row in await connection.execute(EXPIRE, values))
        if also is not None:
            await also(connection)
    return added, ending


async def revoke(engine: AsyncEngine, backend: str, key_id: str, why: str, also: Also | None = None) -> None:
    """Put a key out of force for good, within seconds everywhere. Raises NotFound."""
    async with transactional(engine).begin() as connection:
        changed = await connection.execute(REVOKE, {"backend": backend, "key_id": key_id, "why": why})
        if changed.rowcount == 0:
            raise NotFound(f"{backend} has no key {key_id} that is not revoked")
        if also is not None:
            await also(connection)


async def every(engine: AsyncEngine, backend: str | None = None) -> list[dict[str, Any]]:
    """All keys: backend, key_id, public (base64), in_force, added_at, expires_at, revoked_at, why."""
    query = select(receipt_keys, text("now() AS now")).order_by("backend", "added_at", "key_id")
    if backend is not None:
        query = query.where(receipt_keys.c.backend == backend)
    async with engine.connect() as connection:
        return [_row(row) for row in (await connection.execute(query)).mappings()]


def _row(row: RowMapping) -> dict[str, Any]:
    ends = [at for at in (row["expires_at"], row["revoked_at"]) if at is not None]
    found = {name: row[name] for name in ("backend", "key_id", "added_at", "expires_at", "revoked_at", "why")}
    public = base64.b64encode(row["public"]).decode()
    return {**found, "public": public, "in_force": all(row["now"] < end for end in ends)}


async def _add(connection: AsyncConnection, backend: str, public: bytes, key_id: str | None) -> str:
    key_id = key_id or fingerprint(public)
    if not KEY_ID.fullmatch(key_id):
        raise Malformed([Fault("id", None, "letters, digits, dot, dash and underscore, 64 at most")])
    try:
        await connection.execute(insert(receipt_keys).values(backend=backend, key_id=key_id, public=public))
    except IntegrityError:
        raise NotSo(f"{backend} has a key {key_id} already") from None
    return key_id
