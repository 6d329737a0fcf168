"""Orders into an ERP that a profile describes: looked up, sent, led on step by step, and read again.

Where the ERP does not refuse a second order of one reference, it is asked for the reference before anything is sent;
what is found is led on instead. Whatever ends the walk after the order was made leaves a record that bears the order's
id: it is found again, and a poll leads it on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from config.settings import Settings
from workers.erp import steady_clock
from workers.erp.attempts import PROBE, TRIES, Batch, Tried, all_of, counted, held, not_sent, noted, try_again, unasked
from workers.erp.checks.finding import CheckFinding
from workers.erp.failures import TABLE, Unfit
from workers.erp.port import Barrier, Capabilities, Kind, Listing, OpenBarrier, Outcome, Submission
from workers.erp.receipts import believed
from workers.erp.rest.calls import RestCalls
from workers.erp.rest.checks import look
from workers.erp.rest.given import seen
from workers.erp.rest.listing import page
from workers.erp.rest.look_ups import LookUps
from workers.erp.rest.options import RestOptions
from workers.erp.rest.records import Records
from workers.erp.rest.walking import Walk

log = logging.getLogger("relais.erp")

There = dict[UUID, list[Any]]  # the records that the ERP has of an order
NotHad = dict[tuple[str, str], Tried]  # what could not be looked up, and why


class RestErp:
    """One ERP. Belongs to the event loop on which it is first used."""

    def __init__(self, settings: Settings, own: RestOptions, barrier: Barrier | None = None) -> None:
        """Nothing connects yet. Raises MissingSetting when `erp_url` is not set."""
        profile = own.profile.profile
        self.capabilities = Capabilities(
            idempotent=False,
            asynchronous=profile.record.state is not None,
            can_list=profile.listing is not None,
            mapped=profile.mapped,
            echoes_digest=False,
            unique_reference=own.unique,
            absent_after=0.0 if own.unique else settings.erp.timeout,
        )
        self._settings, self._own = settings, own
        self._barrier = barrier or OpenBarrier()
        self._calls = RestCalls(settings, own, self._barrier)
        self._look_ups = LookUps(own.profile, self._calls)
        self._records = Records(profile.record)
        self._walk = Walk(own.profile, self._calls, self._records)

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        """Forward the orders within `budget` seconds, many at once; one outcome for each."""
        until = _now() + budget
        if not await self._barrier.open():
            return held(orders)
        there: There = {}
        if not self._own.unique:
            records = await self._calls.records_of([each.id for each in orders], until)
            if isinstance(records, Tried):
                return all_of(orders, not_sent(records))
            there = self._records.of(records)
        failed = await self._look_ups.learn([each.mapped for each in orders if each.mapped], until)
        batch = Batch(orders, until, self._settings.delivery.trip_after, self._barrier.is_open)
        hands = min(len(orders), self._settings.erp.concurrency)
        await asyncio.gather(*(self._work(batch, there, failed) for _ in range(hands)))
        return batch.outcomes()

    async def find(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """What the ERP has under each id: ACCEPTED, PENDING while it is not taken, REFUSED where it was refused."""
        started, until = steady_clock.now(), _now() + budget
        await self._barrier.open()
        records = await self._calls.records_of(ids, until)
        if isinstance(records, Tried):
            outcome = replace(unasked(records).outcome(started), ended=steady_clock.now())
            return {each: noted(outcome, self._barrier) for each in ids}
        found = self._records.of(records)
        absent = Outcome(Kind.ABSENT, "not with the ERP", 200)
        outcomes = {each: self._told(each, found[each]) if each in found else absent for each in ids}
        ended = steady_clock.now()
        return {each: replace(outcome, started=started, ended=ended) for each, outcome in outcomes.items()}

    async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """As `find`, and records that stand still are led on."""
        started, until = steady_clock.now(), _now() + budget
        if not self._walk.steps or not await self._barrier.open():
            return await self.find(ids, budget=budget)
        records = await self._calls.records_of(ids, until)
        if isinstance(records, Tried):
            return dict.fromkeys(ids, unasked(records).outcome(started))
        found = {each: first[0] for each, first in self._records.of(records).items() if each in {*ids}}
        led = await asyncio.gather(*(self._walk.on(each, record, until) for each, record in found.items()))
        outcomes = dict(zip(found, (self._out(each, started) for each in led), strict=True))
        rest = [each for each in ids if each not in outcomes]
        return outcomes | (await self.find(rest, budget=until - _now()) if rest else {})

    async def list(self, since: datetime, until: datetime, *, after: str | None, budget: float) -> Listing:
        """A page of the orders that the ERP took in that time, by its own clock."""
        return await page(self._own.profile, self._calls, self._records, since, until, after, _now() + budget)

    async def probe(self) -> bool:
        """True when the ERP lets us in and answers as the profile says."""
        until = _now() + min(PROBE, self._settings.erp.timeout)
        answer = await self._calls.once(self._own.profile.probe, {}, until)
        well = answer.well and bool(self._own.profile.profile.probe.records.of(answer.said))
        if not well:
            log.info("the probe failed", extra={"error": answer.tried.detail})
        return well

    def check(self, *, budget: float) -> AsyncIterator[CheckFinding]:
        """Are we let in, and is each question that changes nothing answered as the profile says."""
        return look(self, self._own.profile, self._calls, self._look_ups, budget)

    async def close(self) -> None:
        """Let go of connections; a later call opens new ones."""
        await self._calls.close()

    async def _work(self, batch: Batch, there: There, failed: NotHad) -> None:
        """One of the hands that take the batch's orders in turn."""
        for order in batch:
            if batch.over():
                return
            started = steady_clock.now()
            outcome = self._out(await self._forward(order, there.get(order.id, []), failed, batch.until), started)
            substitutes = self._settings.erp.allow_substitution
            outcome = believed(outcome, order.body, order.digest, substitutes=substitutes, echoed=False)
            batch.note(order, noted(outcome, self._barrier))

    async def _forward(self, order: Submission, known: Sequence[Any], failed: NotHad, until: float) -> Tried | Outcome:
        """What is `known` of it to the ERP is led on; an order that the ERP does not have is sent."""
        try:
            living = self._living(known)
        except Unfit as error:
            return _unfit(error)
        if not living:
            return await self._send(order, failed, until)
        came = await self._walk.on(order.id, known[0], until, Kind.DUPLICATE)
        return counted(came, order.id, living) if isinstance(came, Outcome) else came

    async def _send(self, order: Submission, failed: NotHad, until: float) -> Tried | Outcome:
        """One order that the ERP does not have, its brief tries included."""
        if order.mapped is not None:
            names = [("customer", order.mapped.customer), *(("article", each) for each in order.mapped.articles)]
            if (lacking := next((failed[each] for each in names if each in failed), None)) is not None:
                return lacking if lacking.kind is Kind.REFUSED else not_sent(lacking)
        given = seen(order, self._look_ups.get)
        answers = [await self._calls.once(self._own.profile.send, given, until, order)]

        async def again() -> Tried:
            answers.append(await self._calls.once(self._own.profile.send, given, until, order))
            return answers[-1].tried

        tried = answers[0].tried
        if tried.failure is not None:
            tried = await try_again(tried, again, tries=TRIES, until=until, idempotent=False)
        if tried.kind is not Kind.ACCEPTED:
            return tried
        place = self._own.profile.profile.send.record
        record = await self._walk.from_answer(order.id, place, answers[-1].said, until)
        return record if isinstance(record, Tried) else await self._walk.on(order.id, record, until)

    def _told(self, order: UUID, records: Sequence[Any], kind: Kind = Kind.ACCEPTED) -> Outcome:
        """What the records of one order say."""
        try:
            outcome = counted(self._records.outcome(records[0], kind), order, self._living(records))
        except Unfit as error:
            return _unfit(error)
        return self._blanked(outcome)

    def _living(self, records: Sequence[Any]) -> Sequence[str]:
        return [self._calls.blanked(each) for each in self._records.living(records)]

    def _out(self, came: Tried | Outcome, started: datetime) -> Outcome:
        outcome = came.outcome(started) if isinstance(came, Tried) else came
        return replace(self._blanked(outcome), started=started, ended=steady_clock.now())

    def _blanked(self, outcome: Outcome) -> Outcome:
        """In the ERP's words without a secret that was shown to it."""
        receipt = outcome.receipt
        if receipt is not None:
            said = (replace(line, reason=line.reason and self._calls.blanked(line.reason)) for line in receipt.lines)
            receipt = replace(receipt, lines=tuple(said))
        return replace(outcome, detail=self._calls.blanked(outcome.detail), receipt=receipt)


def _unfit(error: Unfit) -> Outcome:
    failure = TABLE[error.met]
    return Outcome(failure.kind, f"{failure.says}: {error.detail}", evidence=failure.evidence, answer=error.answer)


def _now() -> float:
    return asyncio.get_running_loop().time()
