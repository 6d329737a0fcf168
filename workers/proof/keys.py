"""The keys of the seals, derived from the one secret that RELAIS_SEAL_KEY holds.

From each secret come, by HKDF-SHA-256 (RFC 5869) under labels of their own, the key of the HMAC that links block to
block and the seed of the Ed25519 key that signs each. The public half may be shown to anybody: with it seals can be
verified where the secret must not be.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from config.settings.stores import seal_keys


@dataclass(frozen=True)
class SealKey:
    """One key: its id, and what it signs with."""

    id: str
    public: bytes
    _mac: bytes = field(repr=False)
    _private: Ed25519PrivateKey = field(repr=False)

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA-256, 32 bytes."""
        return hmac.digest(self._mac, message, hashlib.sha256)

    def sign(self, message: bytes) -> bytes:
        """Ed25519 (RFC 8032), 64 bytes."""
        return self._private.sign(message)

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """True when this key made the signature."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


Keys = dict[str, SealKey]


def keys_of(secret: SecretStr | None) -> Keys:
    """The keys by their ids, the one that seals first; none when there is no secret."""
    return {key.id: key for key in map(_derived, seal_keys(secret))} if secret else {}


def _derived(secret: bytes) -> SealKey:
    private = Ed25519PrivateKey.from_private_bytes(_stretched(secret, b"relais seal signature 1"))
    public = private.public_key().public_bytes_raw()
    return SealKey(hashlib.sha256(public).hexdigest()[:16], public, _stretched(secret, b"relais seal mac 1"), private)


def _stretched(secret: bytes, label: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=label).derive(secret)
