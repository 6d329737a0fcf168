"""The ledger: the journal, the ERP's own file and what the front end was told, laid side by side.

None of the three knows of the others. Whatever differs between them is a fault, with the orders concerned; no counter
of the demo's own decides anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from orders.sentences import count
from orders.states import Reason, State
from workers.erp.outcomes import LEASE_EXPIRED
from workers.erp.sim import Effect
from workers.proof import audit

MOST_ATTEMPTS: Final = 3
MOST_NAMED: Final = 3  # ids named in a fault

ROWS = text(f"""
SELECT o.id, o.digest, d.state, d.reason, d.attempts, (
  SELECT count(*) FROM attempts a WHERE a.order_id = o.id AND a.outcome = '{LEASE_EXPIRED}') AS killed
FROM orders o JOIN deliveries d ON d.order_id = o.id
""")


@dataclass(frozen=True, slots=True)
class Promise:
    """An order that was answered 202: its digest, and the reason of the dead letter it must become, if any."""

    digest: bytes
    dead: Reason | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What the journal says of an order; `killed`: attempts that ended with their worker."""

    digest: bytes
    state: str
    reason: str | None
    attempts: int
    killed: int

    @property
    def dead(self) -> bool:
        """Whether it is a dead letter, given up for good or not."""
        return self.state == State.DEAD or self.given_up

    @property
    def given_up(self) -> bool:
        """Whether somebody has given it up for good."""
        return self.state == State.DISCARDED

    @property
    def charged(self) -> int:
        """Its attempts beyond the one that it needs, and those that nobody is to blame for."""
        return max(self.attempts - self.killed - 1, 0)


@dataclass(frozen=True, slots=True)
class DemoLedger:
    """The figures, in orders unless they say otherwise, and every way in which they do not hold."""

    promised: int  # answered 202
    accepted: int  # in the journal
    backlog: int
    delivered: int
    dead: dict[str, int]  # by reason
    effects: int  # at the ERP
    duplicates: int  # effects beyond an order's first
    lost: int  # promised, and neither at the ERP nor a dead letter that was to be
    altered: int  # whose digests differ between front end, journal and ERP
    attempts_of_the_outage: int
    most_attempts: int
    faults: tuple[str, ...]

    @property
    def balanced(self) -> bool:
        """True when nothing differs."""
        return not self.faults


async def read_journal(engine: AsyncEngine) -> tuple[audit.Ledger, dict[UUID, Row]]:
    """The journal's own audit, and what it says of every order."""
    return await audit.audit(engine), await _read_rows(engine)


async def charged(engine: AsyncEngine) -> int:
    """The attempts that the outage has cost so far: a replay lets each order begin anew."""
    return sum(row.charged for row in (await _read_rows(engine)).values())


async def _read_rows(engine: AsyncEngine) -> dict[UUID, Row]:
    async with engine.connect() as connection:
        return {row[0]: Row(bytes(row[1]), *row[2:]) for row in await connection.execute(ROWS)}


def balance(
    promises: Mapping[UUID, Promise],
    proven: audit.Ledger,
    rows: Mapping[UUID, Row],
    effects: Iterable[Effect],
    surprises: Iterable[str] = (),
    before: int = 0,
    given_up: Collection[UUID] = (),
) -> DemoLedger:
    """Lay the three accounts side by side; `surprises` are answers that no honest intake gives, `before` is what was
    `charged` when the replay began, and `given_up` are dead letters that people gave up for good.
    """
    at_erp, digests = _count(effects)
    alive = {order for order, promise in promises.items() if promise.dead is None}
    lost = {order for order in alive if order not in at_erp or not _delivered(rows.get(order))}
    altered = {order for order, promise in promises.items() if _altered(promise, rows.get(order), digests.get(order))}
    spent = {order: row.charged for order, row in rows.items() if row.charged}
    most = max((row.attempts for row in rows.values()), default=0)
    differences = {
        "lost": lost,
        "with the ERP more than once": {order for order, times in at_erp.items() if times > 1},
        "with the ERP, and nobody was told 202": at_erp.keys() - promises.keys(),
        "with the ERP, though unfit": at_erp.keys() & (promises.keys() - alive),
        "altered on the way": altered,
        "answered 202 and not in the journal": promises.keys() - rows.keys(),
        "in the journal, and nobody was told 202": rows.keys() - promises.keys(),
        "not the dead letter that was expected": _misjudged(promises, rows),
        "given up, and nobody asked for it": {i for i, row in rows.items() if row.given_up} ^ {*given_up},
        "charged with an attempt by the outage": spent.keys(),
    }
    return DemoLedger(
        promised=len(promises),
        accepted=proven.accepted,
        backlog=proven.backlog,
        delivered=proven.delivered,
        dead=dict(Counter(str(row.reason) for row in rows.values() if row.dead)),
        effects=at_erp.total(),
        duplicates=at_erp.total() - len(at_erp),
        lost=len(lost),
        altered=len(altered),
        attempts_of_the_outage=before + sum(spent.values()),
        most_attempts=most,
        faults=(*surprises, *_charged(before), *proven.faults, *_sums(proven, most), *_faults(differences)),
    )


def _count(effects: Iterable[Effect]) -> tuple[Counter[UUID], dict[UUID, set[bytes]]]:
    """How often each order took effect at the ERP, and with which digests."""
    times: Counter[UUID] = Counter()
    digests: dict[UUID, set[bytes]] = {}
    for effect in effects:
        order = UUID(effect["id"])
        times[order] += 1
        digests.setdefault(order, set()).add(bytes.fromhex(effect["digest"]))
    return times, digests


def _delivered(row: Row | None) -> bool:
    return row is not None and row.state == State.DELIVERED


def _altered(promise: Promise, row: Row | None, at_erp: set[bytes] | None) -> bool:
    seen = {promise.digest, *({row.digest} if row else ()), *(at_erp or ())}
    return len(seen) > 1


def _misjudged(promises: Mapping[UUID, Promise], rows: Mapping[UUID, Row]) -> set[UUID]:
    """Dead letters that should live or have another reason, and orders that should be dead and are not."""
    dead = {order: row.reason for order, row in rows.items() if row.dead}
    expected = {order: str(promise.dead) for order, promise in promises.items() if promise.dead is not None}
    return {order for order, _ in dead.items() ^ expected.items()}


def _sums(proven: audit.Ledger, most: int) -> list[str]:
    """What must hold of the totals alone."""
    found = []
    if proven.backlog:
        found.append(f"{count(proven.backlog, 'order is', 'orders are')} still in the backlog")
    if proven.cancelled:
        found.append(f"{count(proven.cancelled, 'order was', 'orders were')} cancelled, and nobody asked for it")
    if most > MOST_ATTEMPTS:
        found.append(f"an order needed {count(most, 'attempt')}, more than {MOST_ATTEMPTS}")
    return found


def _faults(differences: Mapping[str, Iterable[UUID]]) -> list[str]:
    """A sentence for every kind of difference that there is."""
    found = []
    for what, orders in differences.items():
        if named := sorted(orders):
            shown = ", ".join(map(str, named[:MOST_NAMED])) + (", ..." if len(named) > MOST_NAMED else "")
            found.append(f"{count(len(named), 'order')} {what}: {shown}")
    return found


def _charged(before: int) -> Iterator[str]:
    if before:
        yield f"attempts that the outage cost before the replay: {before}"
