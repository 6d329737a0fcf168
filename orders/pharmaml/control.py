"""Content-PharmaML, the protocol's own check that a message is whole and of whom it says; weak, but often asked for.

base64(MD5(body, the pharmacy's id in 16 characters padded right with "0", the pharmacy's key of 4 characters)). Four
characters are no secret: the API key and TLS are what protects an order. See docs/pharmaml.md.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path

from orders.identifiers import CUSTOMER_CODE
from orders.pharmaml.messages import NotUnderstood, Statut
from orders.rules.catalogue import BadList, rows_of

Keys = Mapping[str, str]


def load_keys(path: Path) -> Keys:
    """Keys by pharmacy, from the columns pharmacy and key (4 visible ASCII characters). Raises BadList."""
    keys: dict[str, str] = {}
    for line, (pharmacy, key) in rows_of(path, "pharmacy", "key"):
        if not re.fullmatch(CUSTOMER_CODE, pharmacy):
            raise BadList(path, line, "pharmacy", "must be 1 to 32 of A-Z, a-z, 0-9, dot, dash and underscore")
        if not re.fullmatch(r"[\x21-\x7e]{4}", key):
            raise BadList(path, line, "key", "must be 4 visible ASCII characters")
        if pharmacy in keys:
            raise BadList(path, line, "pharmacy", f"{pharmacy} is listed twice")
        keys[pharmacy] = key
    return keys


def control(body: bytes, pharmacy: str, key: str) -> str:
    """The header's value for this body."""
    secret = pharmacy[:16].ljust(16, "0") + key
    return b64encode(hashlib.md5(body + secret.encode(), usedforsecurity=False).digest()).decode()


def check(body: bytes, pharmacy: str, given: str | None, keys: Keys) -> None:
    """Raise NotUnderstood unless the header is right or the pharmacy has no key; compares in constant time."""
    if pharmacy not in keys:
        return
    if given is None:
        raise NotUnderstood(Statut.CONTROL, "Elément de contrôle (Content-PharmaML) absent")
    right = control(body, pharmacy, keys[pharmacy])
    if not hmac.compare_digest(right.encode(), given.strip().encode("utf-8", "replace")):
        raise NotUnderstood(Statut.CONTROL, "Elément de contrôle (Content-PharmaML) invalide")
