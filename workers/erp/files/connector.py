"""Orders into a directory, and answers out of another: forward, find, and read what the ERP decided (docs/files.md).

There are three levels of acknowledgement. That the file was taken away (transport) and that it could be read (syntax,
CONTRL) leave an order pending; only what the ERP itself decides (application: ORDRSP, or a table) delivers or refuses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar
from uuid import UUID

from config.settings import Settings
from workers.erp import steady_clock
from workers.erp.attempts import PROBE, Batch, held, noted
from workers.erp.checks.finding import CheckFinding
from workers.erp.failures import TABLE as ANY
from workers.erp.failures import Met as AnyMet
from workers.erp.files.book import OrderBook, OrderState
from workers.erp.files.checks import FileExchange, look
from workers.erp.files.failures import (
    TABLE,
    FileTrouble,
    NotThere,
    PlaceFault,
    as_it_got_its_name,
    unasked,
    unsent_order,
)
from workers.erp.files.names import names_of
from workers.erp.files.options import FilesOptions
from workers.erp.files.pace import PendingPace
from workers.erp.files.place import FilePlace
from workers.erp.files.reading import AnswerReader
from workers.erp.files.verdicts import Unwritable
from workers.erp.files.writing import recorded, written
from workers.erp.port import (
    LINES,
    Barrier,
    Capabilities,
    ErpReceipt,
    Kind,
    Listing,
    OpenBarrier,
    Outcome,
    Submission,
)

log = logging.getLogger("relais.erp")

T = TypeVar("T")

MOST_BATCH: Final = 200
READING: Final = 0.3  # of the time that a question may take, for answers that have come; the rest is for what is asked
CANNOT_LIST: Final = "a directory does not tell which orders the ERP has"


class FilesErp:
    """One backend behind directories. Belongs to the event loop on which it is first used."""

    def __init__(self, place: FilePlace, settings: Settings, own: FilesOptions, barrier: Barrier | None = None) -> None:
        """Nothing connects yet."""
        self.capabilities = Capabilities(
            idempotent=False,
            asynchronous=True,
            can_list=False,
            max_batch=MOST_BATCH,
            mapped=own.mapped(),
            echoes_digest=False,
            unique_reference=own.unique_reference,
        )
        self._place, self._settings, self._own = place, settings, own
        self._barrier = barrier or OpenBarrier()
        self._book = OrderBook(place, own.work, own.orders)
        self._reader = AnswerReader(place, self._book, own)
        self._slots = asyncio.Semaphore(settings.erp.concurrency)
        self._pace = PendingPace()

    async def submit(self, orders: Sequence[Submission], *, budget: float) -> dict[UUID, Outcome]:
        """Hand the orders over within `budget` seconds: PENDING, or what is known of those that were handed over
        before.
        """
        until = _now() + budget
        batch = Batch(orders, until, self._settings.delivery.trip_after, self._barrier.is_open)
        if not await self._barrier.open():
            return held(orders)
        hands = min(len(orders), self._settings.erp.concurrency)
        await asyncio.gather(*(self._work(batch) for _ in range(hands)))
        return batch.outcomes()

    async def find(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """What was handed over and what the ERP decided of it; ABSENT is what was never handed over."""
        return await self._tell(ids, budget, PendingPace())

    async def _tell(self, ids: Sequence[UUID], budget: float, pace: PendingPace) -> dict[UUID, Outcome]:
        until = _now() + budget
        await self._barrier.open()
        foreign = await self._timed(lambda: self._reader.look(budget * READING), until)
        if isinstance(foreign, Outcome):
            return dict.fromkeys(ids, noted(unasked(foreign), self._barrier))
        self._pace.forget(self._reader.heard)
        self._reader.heard.clear()
        looks = (self._known(each, until, pace) for each in ids)
        told = dict(zip(ids, await asyncio.gather(*looks), strict=True))
        if foreign is not None:
            log.error("an order was answered that was never sent", extra={"why": foreign})
            first = next((each for each in ids if told[each].kind is Kind.PENDING), ids[0])
            told[first] = replace(told[first], **unsent_order(foreign))
        return {each: noted(outcome, self._barrier) for each, outcome in told.items()}

    async def poll(self, ids: Sequence[UUID], *, budget: float) -> dict[UUID, Outcome]:
        """As `find`, and what has been pending for long is not looked at every time."""
        return await self._tell(ids, budget, self._pace)

    async def list(self, since: Any, until: Any, *, after: str | None, budget: float) -> Listing:
        """Nothing: `capabilities` says that it cannot."""
        return Listing(failed=Outcome(Kind.UNKNOWN, CANNOT_LIST))

    async def probe(self) -> bool:
        """True when the directories are there, and one of ours can be written to. Never raises."""
        try:
            async with asyncio.timeout(min(PROBE, self._settings.erp.timeout)):
                await self._book.present()
                await self._place.stat(self._own.answers)
                await self._reader.clock()
            return True
        except Exception as error:
            log.info("the probe failed", extra={"error": str(error) or type(error).__name__})
            return False

    def check(self, *, budget: float) -> AsyncIterator[CheckFinding]:
        """Are we let in, can files go from one directory into another, what time is it there, and what waits."""
        return look(FileExchange(self._place, self._book, self._reader, self._settings, self._own), budget)

    async def set_aside(self, *, budget: float) -> int | None:
        """How many answers could not be read and wait for a person; None where that cannot be told. Never raises."""
        counted = await self._timed(self._reader.set_aside, _now() + budget)
        return None if isinstance(counted, Outcome) else counted

    async def close(self) -> None:
        """Let go of connections; a later call opens new ones."""
        await self._place.close()

    async def _work(self, batch: Batch) -> None:
        """One of the hands that take the batch's orders in turn."""
        for order in batch:
            async with self._slots:
                if batch.over():
                    return
                until = min(batch.until, _now() + self._settings.erp.timeout)
                batch.note(order, noted(await self._forward(order, until), self._barrier))

    async def _forward(self, order: Submission, until: float) -> Outcome:
        started = steady_clock.now()
        outcome = await self._timed(lambda: self._prepared(order), until)
        if isinstance(outcome, str):  # the name of the file that waits to be handed over
            if not self._barrier.is_open():
                return Outcome(Kind.UNSENT, ANY[AnyMet.HELD].says)
            waiting = outcome
            outcome = await self._timed(lambda: self._hand_over(order, waiting), until, handing_over=True)
        return replace(outcome, started=started, ended=steady_clock.now())

    async def _prepared(self, order: Submission) -> Outcome | str:
        """By what name an order's file waits to be handed over; else what is known of the order already."""
        name = self._own.file_name(names_of(order.id))
        state = await self._book.state(order.id)
        if not state.known:
            try:
                data = await asyncio.to_thread(written, order, self._own)
            except Unwritable as error:
                return Outcome(Kind.REFUSED, str(error))
            await self._book.enter(order.id, recorded(order, name), data)
            state = await self._book.state(order.id)
        if state.waiting:
            return state.waiting
        return await self._outcome(order.id, state, Kind.DUPLICATE)

    async def _hand_over(self, order: Submission, waiting: str) -> Outcome:
        name = self._own.file_name(names_of(order.id))
        await self._book.hand_over(order.id, waiting, name)
        return Outcome(Kind.PENDING, f"handed over as {name}")

    async def _known(self, order_id: UUID, until: float, pace: PendingPace) -> Outcome:
        """What is known of an order; UNKNOWN where the directory could not be asked."""
        if (lately := pace.lately(order_id, _now())) is not None:
            return lately
        started = steady_clock.now()

        async def known() -> Outcome:
            async with self._slots:
                return await self._outcome(order_id, await self._stopped(order_id), Kind.ACCEPTED)

        outcome = await self._timed(known, min(until, _now() + self._settings.erp.timeout))
        if outcome.kind in (Kind.TRANSIENT, Kind.SUSPICIOUS):
            outcome = unasked(outcome)
        outcome = replace(outcome, started=started, ended=steady_clock.now())
        if outcome.kind is Kind.PENDING:
            pace.saw(order_id, outcome, _now())
        return outcome

    async def _stopped(self, order_id: UUID) -> OrderState:
        """What is known of an order; where it was not handed over, no call that still hangs will do so later."""
        state = await self._book.state(order_id)
        if state.waiting:
            try:
                await self._book.withdraw(order_id, state.waiting)
            except NotThere:
                return await self._book.state(order_id)
        return state

    async def _outcome(self, order_id: UUID, state: OrderState, taken: Kind) -> Outcome:
        """What the record of an order says; `taken` where it is accepted. Raises PlaceFault."""
        if state.decided is not None:
            if state.decided.kind != Kind.ACCEPTED:
                return Outcome(Kind.REFUSED, state.decided.detail)
            lines = LINES.validate_python(state.decided.lines)
            return Outcome(taken, "", receipt=ErpReceipt(state.decided.reference, None, lines))
        if not state.known or state.waiting:
            return Outcome(Kind.ABSENT, "never handed over")
        if state.acknowledged is not None:
            return Outcome(Kind.PENDING, f"acknowledged, not decided: {state.acknowledged.detail}")
        name = self._own.file_name(names_of(order_id))
        away = await self._book.is_taken_away(name)
        return Outcome(Kind.PENDING, f"{name} {'was taken away' if away else 'waits to be taken away'}")

    async def _timed(
        self, work: Callable[[], Awaitable[T]], until: float, *, handing_over: bool = False
    ) -> T | Outcome:
        """What the work tells, or the outcome that its failure is. Whatever fails is told, nothing is raised."""
        try:
            async with asyncio.timeout_at(until):
                return await work()
        except PlaceFault as error:
            met = error
        except TimeoutError:
            met = PlaceFault(FileTrouble.LATE, "the time of the order or of its batch is over")
        except Exception as error:
            log.exception("unforeseen failure with a file")
            met = PlaceFault(FileTrouble.UNFORESEEN, type(error).__name__)
        failure = TABLE[as_it_got_its_name(met).trouble if handing_over else met.trouble]
        return Outcome(failure.kind, f"{failure.says}: {met.detail}", evidence=failure.evidence)


def _now() -> float:
    return asyncio.get_running_loop().time()
