"""How a record is led on, from the state in which it was made to one that the profile calls taken or refused."""

from __future__ import annotations

import logging
from typing import Any, Final
from uuid import UUID

from workers.erp.attempts import Tried
from workers.erp.failures import TABLE, Unfit
from workers.erp.port import Kind, Outcome
from workers.erp.rest.calls import RestCalls
from workers.erp.rest.described import Described, Request
from workers.erp.rest.profile import JsonPlace, StepPart
from workers.erp.rest.records import Records

log = logging.getLogger("relais.erp")

MOST_STEPS: Final = 8  # of one record in one go: a profile whose states lead in a circle ends here


class Walk:
    """The steps of one profile."""

    def __init__(self, profile: Described, calls: RestCalls, records: Records) -> None:
        self._profile, self._calls, self._records = profile, calls, records
        self.steps = profile.steps

    async def from_answer(self, order: UUID, place: JsonPlace | None, said: Any, until: float) -> Any:
        """The record of an order that was sent or led on: in the answer at `place`, or asked for anew; a Tried where it
        could not be had.
        """
        return await self._anew(order, until) if place is None else place.of(said)

    async def on(self, order: UUID, record: Any, until: float, kind: Kind = Kind.ACCEPTED) -> Tried | Outcome:
        """What became of a record that was led on as far as it goes; `kind` where it was taken already."""
        for _ in range(MOST_STEPS):
            if (found := self._step(record)) is None:
                break
            kind = Kind.ACCEPTED
            part, request = found
            answer = await self._calls.once(request, {"record": record}, until)
            if answer.well:
                record = await self.from_answer(order, part.record, answer.said, until)
                if isinstance(record, Tried):
                    return record
                continue
            if answer.tried.kind is not Kind.REFUSED:
                return answer.tried._replace(kind=Kind.UNKNOWN, detail=f"made, and not led on: {answer.tried.detail}")
            again = await self._anew(order, until)
            if isinstance(again, Tried):
                return again
            if self._records.state(again) in part.when:
                await self._undo(again, until)
                return answer.tried
            record = again  # it went on meanwhile, by a request of ours that we gave up
        return self._outcome(order, record, kind)

    def _step(self, record: Any) -> tuple[StepPart, Request] | None:
        state = self._records.state(record)
        return next(((part, request) for when, part, request in self.steps if state in when), None)

    def _outcome(self, order: UUID, record: Any, kind: Kind) -> Tried | Outcome:
        try:
            self._records.insist(order, record)
            return self._records.outcome(record, kind)
        except Unfit as error:
            failure = TABLE[error.met]
            return Tried(failure.kind, f"{failure.says}: {error.detail}", failure=failure)

    async def _anew(self, order: UUID, until: float) -> Any:
        """The record as it is now, or why that is not known."""
        records = await self._calls.records_of([order], until)
        if isinstance(records, Tried):
            return records._replace(kind=Kind.UNKNOWN)
        found = self._records.of(records).get(order)
        if found is None:
            return Tried(Kind.UNKNOWN, "it was there a moment ago")
        return found[0]

    async def _undo(self, record: Any, until: float) -> None:
        """Take back what the ERP refuses to go on with; where that fails, a later find tells of it."""
        if self._profile.undo is not None:
            answer = await self._calls.once(self._profile.undo, {"record": record}, until)
            if not answer.well:
                log.warning("a refused order was not taken back", extra={"error": answer.tried.detail})
