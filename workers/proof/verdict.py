"""What a check of the chain found: figures, faults by block, and remarks that are worth a look and no fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from workers.proof.seal import Seal

MOST: Final = 1000  # faults told


@dataclass
class AuditFault:
    """What is wrong with blocks `first` to `last`, or with no block where these are None."""

    first: int | None
    last: int | None
    what: str

    def __str__(self) -> str:
        if self.first is None:
            return self.what
        return f"block {self.first}: {self.what}" if self.first == self.last else f"{self.blocks}: {self.what}"

    @property
    def blocks(self) -> str:
        """`blocks 3 to 7`."""
        return f"blocks {self.first} to {self.last}"


@dataclass
class Chain:
    """What the check found: `wrong` by block where there is one, `remarks` that are worth a look and no fault."""

    blocks: int = 0
    rows: int = 0
    unsealed: int = 0
    last: Seal | None = None
    anchored: int | None = None  # the last block that the anchor has
    wrong: list[AuditFault] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """In words, at most MOST of them."""
        more = [f"and {len(self.wrong) - MOST:,} more faults"] if len(self.wrong) > MOST else []
        return [*map(str, self.wrong[:MOST]), *more]

    def fault(self, block: int, what: str, last: int | None = None) -> None:
        """Something is wrong with this block, or with all up to `last`."""
        before = self.wrong[-1] if self.wrong else None
        if before is not None and before.what == what and before.last == block - 1:
            before.last = last or block
        else:
            self.wrong.append(AuditFault(block, last or block, what))

    def astray(self, what: str) -> None:
        """Something is wrong that no block holds."""
        self.wrong.append(AuditFault(None, None, what))
