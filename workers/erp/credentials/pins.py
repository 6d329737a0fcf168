"""The certificates that an ERP may show."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Self

import aiohttp


class Pins(aiohttp.Fingerprint):
    """The certificates that the ERP may show, by the SHA-256 of their DER; they stand in for any authority."""

    def __init__(self, pins: frozenset[bytes]) -> None:
        super().__init__(min(pins))
        self.allowed = pins

    @classmethod
    def of(cls, said: str) -> Self:
        """From the setting: hexadecimal, colons allowed, several separated by commas."""
        return cls(frozenset(bytes.fromhex(pin.replace(":", "").strip()) for pin in said.split(",")))

    def check(self, transport: asyncio.Transport) -> None:
        """Before anything is sent on a new connection with TLS. Raises ServerFingerprintMismatch."""
        shown = transport.get_extra_info("ssl_object")
        found = hashlib.sha256(shown.getpeercert(binary_form=True)).digest()
        if found not in self.allowed:
            host, port, *_ = transport.get_extra_info("peername")
            asyncio.get_running_loop().call_soon(transport.abort)  # or it would wait for this one to say goodbye
            raise aiohttp.ServerFingerprintMismatch(self.fingerprint, found, host, port)
