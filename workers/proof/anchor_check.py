"""The lines of an anchor beside the chain: read once, in order, as far as the file went when the audit began.

A line was signed when it was written, so one that verifies is told from one that somebody invented. A block that the
anchor has and the journal has not was cut off; one that differs was replaced; the newest may not be there yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orders.audit_codes import AuditCode
from orders.sentences import Sentence
from workers.proof.anchor import AnchorDown
from workers.proof.keys import Keys
from workers.proof.seal import MALFORMED, doubt, of_line
from workers.proof.verdict import Chain

LONGEST_LINE = 1024 * 1024  # bytes


class Anchored:
    """A walk along a file of lines, such as RELAIS_ANCHOR or what syslog kept of `relais-seal`."""

    def __init__(self, path: Path, keys: Keys) -> None:
        """To be made before the journal's snapshot is taken. Raises AnchorDown."""
        try:
            self._file = path.open("rb")
            self._left = path.stat().st_size
        except OSError as error:
            raise AnchorDown(f"{path}: {error.strerror}") from None
        self._keys = keys
        self._lines = self._signed()
        self._next = next(self._lines, None)
        self._met = 0  # the last block that both have
        self._unanchored: tuple[int, int] | None = None  # the blocks since that the anchor has not

    def compare(self, block: int, mac: bytes, chain: Chain, *, believed: bool) -> None:
        """The next seal of the journal, in order. Blocks that are missing in between, the chain tells; one that is not
        `believed` need not be in the anchor.
        """
        while self._next is not None and self._next[0] < block:
            self._next = next(self._lines, None)
        if self._next is None or self._next[0] != block:
            if believed:
                self._unanchored = (self._unanchored[0] if self._unanchored else block, block)
            return
        if self._unanchored is not None and self._met == 0:
            chain.remarks.append(Sentence(AuditCode.ANCHOR_BEGINS, block=block))
        elif self._unanchored is not None:
            chain.fault(self._unanchored[0], Sentence(AuditCode.SKIPPED), self._unanchored[1])
        if self._next[1] != mac:
            chain.fault(block, Sentence(AuditCode.REPLACED))
        self._met, self._unanchored = block, None

    def finish(self, chain: Chain) -> None:
        """After the last seal: what the anchor has beyond it was cut off."""
        last = chain.last.block if chain.last else 0
        beyond = last = max(last, self._met)
        while self._next is not None:
            beyond = max(beyond, self._next[0])
            self._next = next(self._lines, None)
        self._file.close()
        chain.anchored = max(self._met, beyond if beyond > last else 0)
        if beyond > last:
            chain.fault(last + 1, Sentence(AuditCode.CUT_OFF), beyond)
        elif self._unanchored is not None:
            first, final = self._unanchored
            chain.remarks.append(Sentence(AuditCode.ANCHOR_BEHIND, first=first, last=final))

    def _signed(self) -> Iterator[tuple[int, bytes]]:
        """Block and mac of each line that was signed by a key of ours."""
        while self._left > 0 and (line := self._file.readline(min(self._left, LONGEST_LINE))):
            self._left -= len(line)
            try:
                seal = of_line(line[line.find(b"{") :])
                good = doubt(seal, self._keys) is None
            except MALFORMED:
                continue
            if good:
                yield seal.block, seal.mac
