"""Orders into an SAP S/4HANA, many in one call and each a unit of work of its own.

A bad order costs no good one: each is alone in its change set, for SAP makes one sales order a change set and no more
(docs/odata.md). SAP takes two of one reference, so what is there is asked for before anything is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Final
from uuid import UUID

from config.settings import Settings
from workers.erp import steady_clock
from workers.erp.attempts import PROBE, Batch, Tried, all_of, counted, held, not_sent, noted, unasked
from workers.erp.batch_size import BatchSize
from workers.erp.checks.finding import CheckFinding
from workers.erp.failures import Unfit
from workers.erp.odata.batching import Part
from workers.erp.odata.calls import SalesOrderCalls
from workers.erp.odata.checks import look
from workers.erp.odata.errors import failed
from workers.erp.odata.options import OdataOptions
from workers.erp.odata.sales_orders import SalesOrder, by_order, number
from workers.erp.odata.session import OdataSession
from workers.erp.port import Barrier, Capabilities, Kind, Listing, OpenBarrier, Outcome, Submission
from workers.erp.receipts import believed

log = logging.getLogger("relais.erp")

SETTLED: Final = 60.0  # seconds that SAP may go on with what nobody waits for any more, where no setting says another


class OdataErp:
    """One sales area of one SAP. Belongs to the event loop on which it is first used."""

    def __init__(self, settings: Settings, own: OdataOptions, barrier: Barrier | None = None) -> None:
        """Nothing connects yet. Raises MissingSetting when `erp_url` is not set."""
        self.capabilities = Capabilities(
            idempotent=False,
            asynchronous=True,
            can_list=True,
            mapped=True,
            echoes_digest=False,
            unique_reference=False,
            absent_after=SETTLED,
        )
        self._own, self._trip_after = own, settings.delivery.trip_after
        self._timeout, self._substitutes = settings.erp.timeout, settings.erp.allow_substitution
        self._barrier = barrier or OpenBarrier()
        self._session = OdataSession(settings, own, self._barrier)
        self._calls = SalesOrderCalls(self._session, own, settings.erp.timeout)
        self._size = BatchSize(settings.erp.timeout)

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        """Forward the orders, some calls at once; one outcome for each, UNSENT for those never begun."""
        batch = Batch(orders, _now() + budget, self._trip_after, self._barrier.is_open)
        if not await self._barrier.open():
            return held(orders)
        await asyncio.gather(*(self._work(batch) for _ in range(self._own.parallel)))
        return batch.outcomes()

    async def find(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """What SAP has under each id: ACCEPTED, REFUSED where every item of it was rejected, ABSENT."""
        started = steady_clock.now()
        await self._barrier.open()
        told = await self._calls.of(ids, _now() + budget)
        ended = steady_clock.now()
        if isinstance(told, Tried):
            return dict.fromkeys(ids, replace(unasked(told).outcome(started), ended=ended))
        found = by_order(told)
        absent = Outcome(Kind.ABSENT, "not with the ERP", 200)
        return {
            each: replace(self._told(each, found[each]) if each in found else absent, started=started, ended=ended)
            for each in ids
        }

    async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """As `find`: what SAP took without showing it at once."""
        return await self.find(ids, budget=budget)

    async def list(self, since: datetime, until: datetime, *, after: str | None, budget: float) -> Listing:
        """A page of the sales orders that bear an order's id and were made on these days, which are SAP's own."""
        started = steady_clock.now()
        told = await self._calls.page(since, until, after, _now() + budget)
        if isinstance(told, Tried):
            return Listing(failed=unasked(told).outcome(started))
        return Listing(tuple(each for each in told[0] if each is not None), told[1])

    async def probe(self) -> bool:
        """True when SAP lets us in and reads a sales order."""
        tried = await self._session.probe(_now() + min(PROBE, self._timeout))
        if tried is not None:
            log.info("the probe failed", extra={"error": tried.detail})
        return tried is None

    def check(self, *, budget: float) -> AsyncIterator[CheckFinding]:
        """Are we let in, does the service have what an order needs, can sales orders be found and listed."""
        return look(self, self._session, self._own, budget)

    async def close(self) -> None:
        """Let go of connections; a later call opens new ones."""
        await self._session.close()

    async def _work(self, batch: Batch) -> None:
        """One of the hands that take the batch's orders in turn, some in a call."""
        for order in batch:
            if batch.over():
                return
            some = [order, *islice(batch, self._size.orders - 1)]
            started = steady_clock.now()
            outcomes = await self._forward(some, batch.until)
            ended = steady_clock.now()
            for each in some:
                rules = {"substitutes": self._substitutes, "echoed": False}
                told = believed(outcomes[each.id], each.body, each.digest, **rules)
                batch.note(each, noted(replace(told, started=started, ended=ended), self._barrier))

    async def _forward(self, orders: Sequence[Submission], until: float) -> dict[UUID, Outcome]:
        """Those that are there already are told, the others made."""
        there = await self._calls.of([each.id for each in orders], until)
        if isinstance(there, Tried):
            return all_of(orders, not_sent(there))
        live = by_order(each for each in there if not each.rejected)
        known = {each: self._told(each, found, Kind.DUPLICATE) for each, found in live.items()}
        fresh = [each for each in orders if each.id not in known]
        return known | (await self._make(fresh, until) if fresh else {})

    async def _make(self, orders: Sequence[Submission], until: float) -> dict[UUID, Outcome]:
        began = _now()
        made = await self._calls.make(orders, until)
        self._size.took(len(orders), _now() - began, done=not isinstance(made, Tried))
        if isinstance(made, Tried):
            return all_of(orders, made)
        found = by_order(made.found)
        return {
            each.id: self._told(each.id, found[each.id]) if each.id in found else _answered(answer)
            for each, answer in zip(orders, made.answers, strict=True)
        }

    def _told(self, order_id: UUID, found: Sequence[SalesOrder], kind: Kind = Kind.ACCEPTED) -> Outcome:
        return counted(found[0].outcome(kind), order_id, [each.number for each in found if not each.rejected])


def _answered(answer: Part | None) -> Outcome:
    """What the answer to an order says of it that SAP does not show."""
    if answer is None:
        return Outcome(Kind.UNKNOWN, "SAP did not get so far, or did not say")
    if answer.status == 201:
        return _taken(answer)
    return failed(answer.status, answer.headers, answer.body).outcome(steady_clock.now())


def _taken(answer: Part) -> Outcome:
    try:
        return Outcome(Kind.PENDING, f"pending as {number(answer.body)}", 201)
    except Unfit as error:
        return Outcome(Kind.UNKNOWN, error.detail, 201)


def _now() -> float:
    return asyncio.get_running_loop().time()
