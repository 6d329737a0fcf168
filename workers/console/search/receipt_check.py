"""What an order's receipt proves, looked at again now: its signature, the digest it echoes, what it accepts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from workers.console.i18n import N_, Words
from workers.proof.receipts import doubt, signing_keys

DOUBTS: Final[dict[str, str]] = {
    "has no good signature": N_("its signature is not good"),
    "names another key": N_("its signature names another key"),
    "was signed for another order": N_("it was signed for another order"),
    "was signed for another content": N_("it was signed for another content"),
    "was signed with another reference": N_("it was signed with another reference"),
    "was signed with other lines": N_("it was signed with other lines"),
}


@dataclass(frozen=True, slots=True)
class ReceiptCheck:
    """A receipt and what it is worth: `kind` is good, warn or bad, `signature` says of it in words; `same` is
    whether it echoes the digest of what was journalled, None where it echoes none.
    """

    receipt: Row[Any]
    kind: str
    signature: str
    same: bool | None
    lines: Sequence[dict[str, Any]]


async def proven(connection: AsyncConnection, receipts: Sequence[Row[Any]], words: Words) -> list[ReceiptCheck]:
    """Verify each receipt of an order, the newest first."""
    keys = await signing_keys(connection) if receipts else {}
    return [_proven(row, *_signature(row, keys, words)) for row in receipts]


def _proven(row: Row[Any], kind: str, says: str) -> ReceiptCheck:
    same = None if row.digest is None else row.digest == row.sent
    lines = json.loads(row.lines)
    usable = [line for line in lines if isinstance(line, dict)] if isinstance(lines, list) else []
    return ReceiptCheck(row, "bad" if same is False else kind, says, same, usable)


def _signature(row: Row[Any], keys: Any, words: Words) -> tuple[str, str]:
    if row.key_id is None:
        if row.signature is None:
            return "warn", words.gettext("unsigned")
        return "warn", words.gettext("signed, but by no key that was registered when it came: not verified")
    why = doubt(row, keys)
    if why is None:
        return "good", words.gettext("holds, with the key %s") % row.key_id
    if why not in DOUBTS:
        return "bad", words.gettext("does not hold: the key %s is not registered") % row.key_id
    return "bad", words.gettext("does not hold: %s") % words.gettext(DOUBTS[why])
