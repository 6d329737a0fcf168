"""The audit: proves from the journal, its seals and their anchors that no order is missing and no row was altered.

accepted = backlog + delivered + dead + cancelled + discarded, by hour or day of acceptance; what intake signed into the
spill is an order; every order has just one delivery and every delivery an order, every delivered order a receipt of
that delivery, and every order's bytes the digest they were accepted with. `audit` says that much; `prove` checks the
chain of seals and the receipts' signatures too, and that there is one where they are required. `write_down` leaves the
verdict in the journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from config.settings import Settings
from orders.audit_codes import AuditCode
from orders.journal import read_only, snapshot, transactional, unreachable
from orders.sentences import Sentence
from orders.states import FINAL, AsideKind
from workers.operations import record
from workers.proof.anchor import SYSLOG, AnchorDown
from workers.proof.anchor_check import Anchored
from workers.proof.block_content import ROWS_AT_ONCE
from workers.proof.chain import check_chain
from workers.proof.keys import Keys, keys_of
from workers.proof.ledger import MOST_IDS, Books, Unit, read_books
from workers.proof.receipts import SignatureCounts, check_signatures
from workers.proof.verdict import Chain

BODIES: Final = text("SELECT id, body, digest FROM orders")
SIZE: Final = text(
    "SELECT coalesce(sum(greatest(reltuples, 0)), 0) + coalesce(sum(greatest(reltuples, 0)) FILTER "
    "(WHERE relname = 'orders'), 0) FROM pg_class "
    "WHERE relname IN ('orders', 'attempts', 'receipts', 'operations', 'evidence', 'changes', 'mappings')"
)
# What was signed as an order of ours, and is none of the journal's; the same order again stands under another id.
SET_ASIDE: Final = text(f"""
SELECT told, count(*) OVER () FROM asides a WHERE kind <> '{AsideKind.FORGED}' AND NOT EXISTS (
  SELECT FROM orders o WHERE o.id = CASE kind WHEN '{AsideKind.REPEATED}' THEN a.order_id ELSE a.told END)
ORDER BY number LIMIT {MOST_IDS}
""")
# Who is trusted with what changes by an act only, which is recorded in the transaction that does it.
UNRECORDED: Final = text("""
SELECT source, count(*) FROM changes c WHERE source IN ('accounts', 'backends', 'receipt_keys')
  AND NOT EXISTS (SELECT FROM operations o WHERE o.tx = c.tx) GROUP BY source ORDER BY source
""")
MOST_FAULTS: Final = 20  # that the journal remembers of an audit

Watch = Callable[[int, int], None]  # rows read so far, and about how many there are


@dataclass(frozen=True, slots=True)
class Ledger:
    """The figures of an audit, in orders, and every way in which they do not hold."""

    accepted: int
    backlog: int
    delivered: int
    dead: int
    cancelled: int
    discarded: int
    faults: tuple[Sentence, ...]

    @property
    def balanced(self) -> bool:
        """True when nothing is missing and nothing was altered."""
        return not self.faults


@dataclass(frozen=True, slots=True)
class Proof:
    """An audit in full and when it was made: the ledger and its books, the chain, the receipts' signatures."""

    ledger: Ledger
    books: Books
    chain: Chain
    signatures: SignatureCounts
    at: datetime

    @property
    def faults(self) -> list[Sentence]:
        """Everything that is wrong."""
        return [*self.ledger.faults, *self.chain.faults, *self.signatures.faults]

    @property
    def ids(self) -> dict[Sentence, list[UUID]]:
        """Of what is wrong with orders, the first of each kind."""
        return {fault: self.books.ids[fault.code] for fault in self.ledger.faults if fault.code in self.books.ids}

    @property
    def sound(self) -> bool:
        """True when nothing is wrong."""
        return not self.faults


class _Count:
    """Rows read so far, for whoever watches."""

    def __init__(self, watch: Watch | None, total: int) -> None:
        self._watch, self._total, self._done = watch, total, 0

    def add(self, rows: int) -> None:
        self._done += rows
        if self._watch is not None:
            self._watch(self._done, max(self._total, self._done))


async def audit(engine: AsyncEngine) -> Ledger:
    """Read orders and deliveries in one snapshot, in bounded memory."""
    async with snapshot(engine) as connection:
        return (await _ledger(connection, None, _Count(None, 0), signed=False))[0]


async def prove(
    engine: AsyncEngine,
    settings: Settings,
    *,
    unit: Unit | None = None,
    anchors: Path | None = None,
    watch: Watch | None = None,
) -> Proof:
    """Check everything, in one snapshot and in bounded memory.

    `anchors` is a file to compare with instead of RELAIS_ANCHOR.
    """
    keys = keys_of(settings.proof.key)
    anchored, blind, is_fault = _anchored(settings, keys, anchors)
    async with snapshot(engine) as connection:
        count = _Count(watch, int((await connection.execute(SIZE)).scalar_one()))
        ledger, books = await _ledger(connection, unit, count, signed=settings.trust.receipts == "require")
        chain = await check_chain(connection, keys, anchored, count.add)
        if blind is not None and chain.blocks and is_fault:
            chain.astray(blind)
        elif blind is not None and chain.blocks:
            chain.remarks.append(blind)
        for source, changes in await connection.execute(UNRECORDED):
            chain.astray(Sentence(AuditCode.UNRECORDED, count=changes, table=source))
        signatures = await check_signatures(connection, count.add)
        now = (await connection.execute(text("SELECT now()"))).scalar_one()
    return Proof(ledger, books, chain, signatures, now)


async def write_down(engine: AsyncEngine, proof: Proof, reason: str | None = None) -> bool:
    """Leave the verdict in the journal, for `relais status` and the metrics; False where that takes no rows."""
    found = {
        "sound": proof.sound,
        "faults": len(proof.faults),
        "first": [fault.stored() for fault in proof.faults[:MOST_FAULTS]],
    }
    try:
        async with transactional(engine).begin() as connection:
            await record(connection, "audit", reason, found)
    except DBAPIError as error:
        if unreachable(error) and not read_only(error):
            raise
        return False
    return True


def _anchored(settings: Settings, keys: Keys, given: Path | None) -> tuple[Anchored | None, Sentence | None, bool]:
    """The anchor to compare with, opened before the snapshot; or why there is none, and whether that is a fault."""
    path = given or (
        Path(settings.proof.anchor) if settings.proof.anchor and not settings.proof.anchor.startswith(SYSLOG) else None
    )
    if path is None:
        return None, Sentence(AuditCode.NO_ANCHOR), False
    try:
        return Anchored(path, keys), None, False
    except AnchorDown as error:
        return None, Sentence(AuditCode.ANCHOR_DOWN, error=str(error)), True


async def _ledger(
    connection: AsyncConnection, unit: Unit | None, count: _Count, *, signed: bool
) -> tuple[Ledger, Books]:
    books = await read_books(connection, unit, signed=signed)
    figures = {name: books.total(name) for name in ("accepted", "backlog", *FINAL)}
    final = sum(figures[state] for state in FINAL)
    faults = []
    if figures["accepted"] != figures["backlog"] + final:
        sums = {"accepted": figures["accepted"], "backlog": figures["backlog"], "final": final}
        faults.append(Sentence(AuditCode.UNBALANCED, **sums))
    wrong = {what: sum(each.wrong.get(what, 0) for each in books.slices) for what in books.ids}
    if nowhere := (await connection.execute(SET_ASIDE)).all():
        wrong[AuditCode.NOWHERE] = nowhere[0][1]
        books.ids[AuditCode.NOWHERE] = [row.told for row in nowhere if row.told is not None]
    if altered := await _altered(connection, books, count):
        wrong[AuditCode.ALTERED_ORDERS] = altered
    faults += [Sentence(what, count=orders) for what, orders in wrong.items()]
    return Ledger(**figures, faults=tuple(faults)), books


async def _altered(connection: AsyncConnection, books: Books, count: _Count) -> int:
    """How many orders' bytes do not have their digest; the first ids go into the books."""
    altered = 0
    async with connection.stream(BODIES, execution_options={"yield_per": ROWS_AT_ONCE}) as rows:
        async for part in rows.partitions(ROWS_AT_ONCE):
            wrong = [row.id for row in part if hashlib.sha256(row.body).digest() != row.digest]
            if wrong and altered < MOST_IDS:
                books.ids[AuditCode.ALTERED_ORDERS] = [*books.ids.get(AuditCode.ALTERED_ORDERS, []), *wrong][:MOST_IDS]
            altered += len(wrong)
            count.add(len(part))
    return altered
