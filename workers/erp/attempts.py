"""How a batch is tried: within its budget, with brief tries, and stopped when the ERP is plainly unwell.

Stopping spares a dead ERP two hundred timeouts, and spares a compromised one the rest of the orders.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_after_attempt, stop_before_delay

from config.backoff import backoff
from workers.erp import steady_clock
from workers.erp.failures import TABLE, Failure, Met, may_go_again
from workers.erp.port import MOST_KEPT, Barrier, ErpReceipt, Evidence, Kind, Listing, Outcome, Submission

log = logging.getLogger("relais.erp")

HELD: Final = 1.0  # seconds before an order goes again that the barrier did not let through
PROBE: Final = 5.0  # seconds that a probe may take, at most
TRIES: Final = 3  # brief ones inside one attempt: they get over a lost connection, an outage is the circuit's
FIRST_PAUSE: Final = 0.1  # seconds, at most, before the second try; doubles
MOST_PAUSE: Final = 1.0

_WELL: Final = frozenset({Kind.ACCEPTED, Kind.DUPLICATE, Kind.PENDING, Kind.REFUSED})
_NOT_TAKEN: Final = frozenset({Kind.TRANSIENT, Kind.THROTTLED, Kind.UNSENT})


class Tried(NamedTuple):
    """What came of one request: an outcome to be, the failure that it was, what a find says of each id, or a list."""

    kind: Kind
    detail: str = ""
    status: int | None = None
    receipt: ErpReceipt | None = None
    retry_after: float | None = None
    failure: Failure | None = None
    found: Mapping[UUID, Outcome] | None = None
    page: Listing | None = None
    answer: bytes = b""
    calls: int = 1

    def outcome(self, started: datetime) -> Outcome:
        """The outcome of an order whose first try began at `started`."""
        if self.kind is Kind.UNSENT:
            return Outcome(self.kind, self.detail)
        evidence = self.failure.evidence if self.failure else None
        return Outcome(
            self.kind,
            self.detail,
            self.status,
            self.receipt,
            self.retry_after,
            started,
            steady_clock.now(),
            evidence,
            self.answer[:MOST_KEPT],
            self.calls,
        )


def held(orders: Sequence[Submission]) -> dict[UUID, Outcome]:
    """What becomes of a batch that the barrier does not let through."""
    return dict.fromkeys((each.id for each in orders), Outcome(Kind.UNSENT, TABLE[Met.HELD].says, retry_after=HELD))


def noted(outcome: Outcome, barrier: Barrier) -> Outcome:
    """Evidence shuts the barrier at once: nothing further is sent by this process, whatever batch it is of."""
    if outcome.evidence is not None and outcome.evidence.conclusive:
        barrier.shut()
    return outcome


def unasked(tried: Tried) -> Tried:
    """Nothing was learned of any order; all that can be certain is that the ERP is suspicious."""
    kind = Kind.SUSPICIOUS if tried.kind is Kind.SUSPICIOUS else Kind.UNKNOWN
    return tried._replace(kind=kind, detail=f"could not be asked: {tried.detail}")


def not_sent(tried: Tried) -> Tried:
    """A question failed before anything was sent: whatever it was, the orders are certainly not taken."""
    return tried._replace(kind=Kind.TRANSIENT) if tried.kind in (Kind.UNKNOWN, Kind.REFUSED) else tried


def all_of(orders: Sequence[Submission], tried: Tried) -> dict[UUID, Outcome]:
    """The same came of all of them."""
    return dict.fromkeys((each.id for each in orders), tried.outcome(steady_clock.now()))


def counted(outcome: Outcome, order_id: UUID, effects: Sequence[str]) -> Outcome:
    """The outcome of an order that the ERP has under these numbers of its own: that there are several is told, and is
    evidence beside a receipt, which is what is kept.
    """
    if len(effects) < 2:
        return outcome
    told = f"taken more than once: {', '.join(effects)}"
    log.error("the ERP has an order more than once", extra={"order": str(order_id), "why": told})
    return replace(outcome, detail=told, evidence=Evidence.TAKEN_TWICE) if outcome.receipt else outcome


class Batch:
    """Hands out its orders one by one, and keeps what came of each."""

    def __init__(
        self, orders: Sequence[Submission], until: float, trip_after: int, may_send: Callable[[], bool]
    ) -> None:
        """`until` is a time of the running loop; `trip_after` failures in a row stop the batch, and `may_send` saying
        no.
        """
        self.until = until
        self._orders = orders
        self._waiting = iter(orders)
        self._trip_after = trip_after
        self._may_send = may_send
        self._in_a_row = 0
        self._stopped = ""
        self._outcomes: dict[UUID, Outcome] = {}

    def __iter__(self) -> Iterator[Submission]:
        """The orders not yet handed out; several may take from it at once."""
        return self._waiting

    def over(self) -> bool:
        """True when no further order may begin."""
        if not self._stopped and not self._may_send():
            self._stopped = TABLE[Met.HELD].says
        return bool(self._stopped) or asyncio.get_running_loop().time() >= self.until

    def note(self, order: Submission, outcome: Outcome) -> None:
        """Keep what came of an order, and stop the batch when that is reason enough."""
        self._outcomes[order.id] = outcome
        self._in_a_row = 0 if outcome.kind in _WELL else self._in_a_row + 1
        if outcome.kind is Kind.SUSPICIOUS or self._in_a_row >= self._trip_after:
            self._stopped = self._stopped or f"the batch was stopped: {outcome.detail}"

    def outcomes(self) -> dict[UUID, Outcome]:
        """One outcome for each order, in their order."""
        unsent = Outcome(Kind.UNSENT, self._stopped or "the batch's budget ran out")
        return {order.id: self._outcomes.get(order.id, unsent) for order in self._orders}


async def try_again(
    first: Tried, call: Callable[[], Awaitable[Tried]], *, tries: int, until: float, idempotent: bool
) -> Tried:
    """What comes of up to `tries` calls of which the first is done, none begun after the loop's time `until`.

    Once one of them may have been taken, no later failure makes the order certainly not taken.
    """
    done = [first]
    kinds = [first.kind]

    async def once() -> Tried:
        if done:
            return done.pop()
        tried = await call()
        kinds.append(tried.kind)
        return tried

    def worth_it(tried: Tried) -> bool:
        return tried.failure is not None and may_go_again(tried.failure, tried.retry_after, idempotent=idempotent)

    last: Tried = await AsyncRetrying(
        retry=retry_if_result(worth_it),
        wait=_pause,
        stop=stop_after_attempt(tries) | stop_before_delay(until - asyncio.get_running_loop().time()),
        retry_error_callback=_as_it_was,
    )(once)
    last = last._replace(calls=len(kinds))
    if Kind.UNKNOWN in kinds and last.kind in _NOT_TAKEN:
        return last._replace(kind=Kind.UNKNOWN, detail=f"{last.detail}; an earlier try may have been taken")
    return last


def _pause(state: RetryCallState) -> float:
    """Seconds: what the ERP asked for, and a jittered, doubling bit more."""
    assert state.outcome is not None
    asked = state.outcome.result().retry_after or 0.0
    return float(asked + random.uniform(0.3, 1.0) * backoff(state.attempt_number, FIRST_PAUSE, MOST_PAUSE))


def _as_it_was(state: RetryCallState) -> Tried:
    assert state.outcome is not None
    tried: Tried = state.outcome.result()
    return tried
