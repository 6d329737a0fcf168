"""Orders into a Tryton, many in one call: create the sales, quote them, confirm them, and read what became of them.

Each of the four is one transaction of Tryton's. Whatever ends the walk between two of them leaves sales that bear the
order's id: they are found again, driven on by a poll, and never made twice where the reference is unique
(docs/tryton.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from config.settings import Settings
from workers.erp import steady_clock
from workers.erp.attempts import PROBE, Tried, all_of, counted, held, not_sent, noted, unasked
from workers.erp.batch_size import FIRST, BatchSize
from workers.erp.checks.finding import CheckFinding
from workers.erp.port import Barrier, Capabilities, Kind, Listed, Listing, OpenBarrier, Outcome, Submission
from workers.erp.receipts import believed
from workers.erp.tryton import sales
from workers.erp.tryton.calls import MOST_LISTED, SaleCalls, Sales
from workers.erp.tryton.checks import UNIQUE, look
from workers.erp.tryton.names import Names
from workers.erp.tryton.options import TrytonOptions
from workers.erp.tryton.rpc import TrytonRpc
from workers.erp.tryton.shipments import Shipments

log = logging.getLogger("relais.erp")

LONGEST_REQUEST: Final = 75.0  # seconds: Tryton ends one after 60, and may be about to commit then


class TrytonErp:
    """One company of one Tryton. Belongs to the event loop on which it is first used."""

    def __init__(self, settings: Settings, own: TrytonOptions, barrier: Barrier | None = None) -> None:
        """Nothing connects yet. Raises MissingSetting when `erp_url` is not set."""
        self.capabilities = Capabilities(
            idempotent=False,
            atomic_batches=True,
            asynchronous=True,
            can_list=True,
            max_batch=FIRST,
            mapped=True,
            echoes_digest=False,
            unique_reference=own.unique_reference,
            absent_after=0.0 if own.unique_reference else LONGEST_REQUEST,
        )
        self._own, self._timeout = own, settings.erp.timeout
        self._substitutes = settings.erp.allow_substitution
        self._barrier = barrier or OpenBarrier()
        self._rpc = TrytonRpc(settings, own, self._barrier)
        self._names = Names(self._rpc, own.company, own.currency)
        shipments = Shipments(self._rpc, self._names, own.ships_within)
        self._sales = SaleCalls(self._rpc, own.company, settings.erp.timeout, shipments)
        self._size = BatchSize(settings.erp.timeout)
        self._queued = False  # whether workers of Tryton's process what is confirmed

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        """Forward the orders; one outcome for each. The sales are all made or none: where Tryton refuses one as it is
        made, all are REFUSED.
        """
        started, until = steady_clock.now(), _now() + budget
        if not await self._barrier.open():
            return held(orders)
        outcomes = await self._submit(orders, until)
        ended = steady_clock.now()
        rules = {"substitutes": self._substitutes, "echoed": False}
        told = {each.id: believed(outcomes[each.id], each.body, each.digest, **rules) for each in orders}
        return {i: noted(replace(each, started=started, ended=ended), self._barrier) for i, each in told.items()}

    async def find(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """What Tryton has under each id: ACCEPTED, PENDING while not confirmed, REFUSED where it was cancelled."""
        started, until = steady_clock.now(), _now() + budget
        await self._barrier.open()
        return self._found(ids, await self._sales.of(ids, until), started)

    async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """As `find`, and sales that stand still are driven on, a batch at a time: quoted, confirmed and processed."""
        started, until = steady_clock.now(), _now() + budget
        is_open, found = await self._barrier.open(), await self._sales.of(ids, until)
        if not is_open or isinstance(found, Tried):
            return self._found(ids, found, started)
        moved, refused = await self._drive_on(found, until)
        again = await self._sales.of([*moved], until) if moved else {}
        now_found = found if isinstance(again, Tried) else found | again
        return self._found(ids, now_found, started) | refused

    async def list(self, since: datetime, until: datetime, *, after: str | None, budget: float) -> Listing:
        """A page of the sales that bear an order's id, by when they were made; cancelled ones are none."""
        started = steady_clock.now()
        answer = await self._sales.page(since, until, after, _now() + budget)
        if answer.failed is not None:
            return Listing(failed=unasked(answer.failed).outcome(started))
        orders = tuple(
            Listed(UUID(row["reference"]), None, str(row["number"] or row["id"]), sales.instant(row["create_date"]))
            for row in answer.result
            if _is_id(row["reference"])
        )
        return Listing(orders, sales.place(answer.result[-1]) if len(answer.result) == MOST_LISTED else None)

    async def probe(self) -> bool:
        """True when Tryton lets us in and answers."""
        until = _now() + min(PROBE, self._timeout)
        answer = await self._rpc.call("model.res.user.get_preferences", True, until=until)
        if answer.failed is not None:
            log.info("the probe failed", extra={"error": answer.failed.detail})
        return answer.failed is None

    def check(self, *, budget: float) -> AsyncIterator[CheckFinding]:
        """Log-in, rights, company, currency, whether a reference is unique."""
        return look(self, self._rpc, self._own, budget)

    async def close(self) -> None:
        """Let go of connections; a later call opens new ones."""
        await self._rpc.close()

    async def _submit(self, orders: Sequence[Submission], until: float) -> dict[UUID, Outcome]:
        if (failed := await self._names.learn(orders, min(until, _now() + self._timeout))) is not None:
            return all_of(orders, not_sent(failed))
        made, refused = self._values(orders)
        if not made:
            return refused
        began = _now()
        answer = await self._sales.create([*made.values()], until)
        if answer.failed is not None:
            self._learn_size(len(made), _now() - began, done=False)
            return refused | await self._not_made([each for each in orders if each.id in made], answer.failed, until)
        numbers = dict(zip(answer.result, made, strict=True))
        stopped = await self._sales.confirm([*numbers], [], until)
        self._learn_size(len(made), _now() - began)
        outcomes = {numbers[number]: each for number, each in stopped.items()}
        if rest := [each for each in made if each not in outcomes]:
            outcomes |= await self._read(rest, until)
        return refused | outcomes

    async def _drive_on(self, found: Sales, until: float) -> tuple[set[UUID], dict[UUID, Outcome]]:
        """Take on what stands still, a batch at a time, for as long as Tryton answers in time: which may have moved,
        and what it refused.
        """
        standing = [*sales.standing(found, steady_clock.now(), queued=self._queued).items()]
        moved, refused = set[UUID](), dict[UUID, Outcome]()
        while standing and _now() < until:
            batch, standing = standing[: self._size.orders], standing[self._size.orders :]
            began = _now()
            stopped = await self._sales.take_on([row for _, row in batch], until)
            self._learn_size(len(batch), _now() - began, done=not stopped)
            moved |= {each for each, _ in batch}
            told = {each: stopped[row["id"]] for each, row in batch if row["id"] in stopped}
            refused |= {each: outcome for each, outcome in told.items() if outcome.kind is Kind.REFUSED}
            if told.keys() - refused.keys():
                break
        return moved, refused

    def _values(self, orders: Sequence[Submission]) -> tuple[dict[UUID, dict[str, Any]], dict[UUID, Outcome]]:
        """What makes the sale of each order, and those of which Tryton lacks something."""
        made, refused = {}, {}
        for order in orders:
            try:
                made[order.id] = sales.values(order, self._names, self._own.company, self._own.currency)
            except sales.Unknown as error:
                refused[order.id] = Outcome(Kind.REFUSED, str(error))
        return made, refused

    async def _not_made(self, orders: Sequence[Submission], failed: Tried, until: float) -> dict[UUID, Outcome]:
        """None was made: where one of them was there already, it is told, and the others go again, alone."""
        if UNIQUE not in failed.detail:
            return all_of(orders, failed)
        found = await self._sales.of([each.id for each in orders], until)
        if isinstance(found, Tried):
            return all_of(orders, failed._replace(kind=Kind.UNKNOWN))
        known = {each: self._told(each, rows, Kind.DUPLICATE) for each, rows in found.items()}
        rest = [each for each in orders if each.id not in known]
        if len(rest) == len(orders):  # it was there a moment ago: who knows what goes on
            return all_of(orders, failed._replace(kind=Kind.UNKNOWN))
        return known | (await self._submit(rest, until) if rest else {})

    async def _read(self, ids: Sequence[UUID], until: float) -> dict[UUID, Outcome]:
        """What became of sales that were just confirmed: not known, where they cannot be read."""
        found = await self._sales.of(ids, until)
        if isinstance(found, Tried):
            return {each: replace(unasked(found).outcome(steady_clock.now()), kind=Kind.UNKNOWN) for each in ids}
        self._queued = any(rows[0]["state"] == sales.CONFIRMED for rows in found.values())
        gone = Outcome(Kind.UNKNOWN, "the sale is not to be found")
        return {each: self._told(each, found[each]) if each in found else gone for each in ids}

    def _found(self, ids: Sequence[UUID], found: Sales | Tried, started: datetime) -> dict[UUID, Outcome]:
        """An answer to the question what there is of each."""
        ended = steady_clock.now()
        if isinstance(found, Tried):
            return dict.fromkeys(ids, replace(unasked(found).outcome(started), ended=ended))
        absent = Outcome(Kind.ABSENT, "not with the ERP", 200)
        told = {each: self._told(each, found[each]) if each in found else absent for each in ids}
        return {each: replace(outcome, started=started, ended=ended) for each, outcome in told.items()}

    def _told(self, order_id: UUID, rows: Sequence[Mapping[str, Any]], kind: Kind = Kind.ACCEPTED) -> Outcome:
        effects = [str(row["number"] or row["id"]) for row in rows if row["state"] != "cancelled"]
        return counted(sales.outcome(rows[0], kind), order_id, effects)

    def _learn_size(self, orders: int, seconds: float, *, done: bool = True) -> None:
        self._size.took(orders, seconds, done=done)
        self.capabilities = replace(self.capabilities, max_batch=self._size.orders)


def _is_id(reference: str) -> bool:
    try:
        return str(UUID(reference)) == reference
    except ValueError:
        return False


def _now() -> float:
    return asyncio.get_running_loop().time()
