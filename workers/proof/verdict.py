"""What a check of the chain found: figures, faults by block, and remarks that are worth a look and no fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from orders.audit_codes import AuditCode
from orders.sentences import Code, Sentence
from workers.proof.seal import Seal

MOST_TOLD: Final = 1000  # faults


@dataclass
class AuditFault:
    """What is wrong with blocks `first` to `last`, or with no block where these are None."""

    first: int | None
    last: int | None
    what: Sentence

    def told(self) -> Sentence:
        """`blocks 3 to 7: missing from the chain`."""
        if self.first is None:
            return self.what
        one = Sentence(AuditCode.BLOCK, block=self.first)
        place = one if self.first == self.last else Sentence(AuditCode.BLOCKS, first=self.first, last=self.last)
        return Sentence(Code.BECAUSE, what=place, why=self.what)


@dataclass
class Chain:
    """What the check found: `wrong` by block where there is one, `remarks` that are worth a look and no fault."""

    blocks: int = 0
    rows: int = 0
    unsealed: int = 0
    last: Seal | None = None
    anchored: int | None = None  # the last block that the anchor has
    wrong: list[AuditFault] = field(default_factory=list)
    remarks: list[Sentence] = field(default_factory=list)

    @property
    def faults(self) -> list[Sentence]:
        """At most MOST_TOLD of them, and how many more there are."""
        more = len(self.wrong) - MOST_TOLD
        beyond = [Sentence(Code.MORE_FAULTS, count=more)] if more > 0 else []
        return [*(fault.told() for fault in self.wrong[:MOST_TOLD]), *beyond]

    def fault(self, block: int, what: Sentence, last: int | None = None) -> None:
        """Something is wrong with this block, or with all up to `last`."""
        before = self.wrong[-1] if self.wrong else None
        if before is not None and before.what == what and before.last == block - 1:
            before.last = last or block
        else:
            self.wrong.append(AuditFault(block, last or block, what))

    def astray(self, what: Sentence) -> None:
        """Something is wrong that no block holds."""
        self.wrong.append(AuditFault(None, None, what))
