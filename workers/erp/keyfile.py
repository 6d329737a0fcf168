"""The files of a signing key, as `relais key generate` makes them and the simulator's `--sign-key` reads them.

PEM as openssl writes it (`openssl genpkey -algorithm ed25519`): PKCS 8 without a password, and SubjectPublicKeyInfo.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from config.embedded.files import write_private


def generate(file: Path) -> bytes:
    """Make a key and write it, for its owner only, and the public one beside it (`.pub`); the latter's 32 bytes."""
    private = Ed25519PrivateKey.generate()
    write_private(file, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    public = private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file.with_name(f"{file.name}.pub").write_bytes(pem)
    return public.public_bytes_raw()


def read_private(file: Path) -> Ed25519PrivateKey:
    """The key in a file. Raises OSError, and ValueError when it holds no Ed25519 key without a password."""
    try:
        private = load_pem_private_key(file.read_bytes(), None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("no Ed25519 key")  # noqa: TRY004 - the file's content, not its type
    return private
