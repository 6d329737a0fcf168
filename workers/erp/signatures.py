"""The signatures of one backend's receipts, verified as its settings say.

`require`  every receipt is signed with a key of the backend in force; with no such key nothing is sent at all.
`prefer`   a signature that is there is good; a receipt without one passes. With no key nothing can be verified.
`ignore`   signatures are not looked at.

Keys are read again every few seconds, and for a key that is not known at once, so that a rotation needs no restart.
What time it is, the journal says, too: a worker whose clock is off holds no signer for false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from config.settings import Settings
from workers.erp.failures import Met, Unfit
from workers.erp.port import ErpReceipt, Kind, Outcome
from workers.erp.receipts import disbelieved
from workers.erp.signing import Key, verified

PASSING: Final = {Met.UNKNOWN_KEY, Met.UNTIMELY}  # what a key that was just added, or a clock just set, looks like


class Keys(Protocol):
    """Where the backend's keys are read; None when they cannot be."""

    async def known(self, *, anew: bool = False) -> Mapping[str, Key] | None:
        """The keys as last read, some seconds ago at most; with `anew`, just now."""
        ...

    def now(self) -> datetime:
        """What time it is by the clock of who keeps the keys, as of when they were read."""
        ...


class Signatures:
    """What the settings say about signatures, and the keys to verify them with."""

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self._required = settings.trust.receipts == "require"
        self._drift = settings.trust.receipt_drift
        self._keys = keys

    async def lacking(self) -> str:
        """Why no order may be sent: that its receipt could not be verified; else empty."""
        known = await self._keys.known()
        if known is None:
            return "the keys of receipts cannot be read"
        now = self._keys.now()
        if self._required and not any(key.in_force(now) for key in known.values()):
            return "receipts must be signed, and no key of this backend is in force: relais key add"
        return ""

    async def of(self, receipt: ErpReceipt, order_id: UUID, *, fresh: bool) -> ErpReceipt:
        """The receipt with the id of the key that signed it, if any had to. Raises Unfit."""
        if receipt.signature is None:
            if self._required:
                raise Unfit(Met.MISSING_SIGNATURE, f"receipt {receipt.reference}")
            return receipt
        keys = await self._keys.known()
        if not keys and not self._required:
            return receipt
        try:
            signer = self._verified(receipt, order_id, keys, fresh=fresh)
        except Unfit as error:
            if error.met not in PASSING:
                raise
            signer = self._verified(receipt, order_id, await self._keys.known(anew=True), fresh=fresh)
        return replace(receipt, key_id=signer)

    def _verified(self, receipt: ErpReceipt, order_id: UUID, keys: Mapping[str, Key] | None, *, fresh: bool) -> str:
        signature = receipt.signature or ""
        return verified(signature, keys or {}, order_id, receipt, at=self._keys.now(), drift=self._drift, fresh=fresh)

    async def of_found(self, found: Mapping[UUID, Outcome]) -> dict[UUID, Outcome]:
        """What a find told, with every receipt's signature verified."""
        return {order_id: await self._of_outcome(order_id, outcome) for order_id, outcome in found.items()}

    async def _of_outcome(self, order_id: UUID, outcome: Outcome) -> Outcome:
        if outcome.receipt is None or outcome.kind is not Kind.ACCEPTED:
            return outcome
        try:
            return replace(outcome, receipt=await self.of(outcome.receipt, order_id, fresh=False))
        except Unfit as error:
            return disbelieved(outcome, error)
