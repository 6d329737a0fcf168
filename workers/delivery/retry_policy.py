"""When an order goes again, and when it dies: whoever has to know asks here, the journal's own statements too.

A failed attempt counts against its order only when the order had failed before and others have succeeded since: what
an outage costs, it costs nobody. Whatever may have reached the ERP is marked `unsure`, so that the next attempt asks
before it sends.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from config.backoff import backoff as doubled
from config.settings import Settings
from orders.refusals import NotDone
from orders.sentences import Sentence
from orders.states import Reason, State
from workers.delivery.circuit_breaker import pause
from workers.erp.outcomes import DELIVERED
from workers.erp.own_words import FORGOTTEN, NOT_YET, UNSETTLED, WORKER_DIED
from workers.erp.port import Kind, Outcome

FAILED: Final = frozenset({Kind.TRANSIENT, Kind.UNKNOWN, Kind.SUSPICIOUS})  # a throttled order is a pause, no failure
UNSURE: Final = frozenset({Kind.UNKNOWN, Kind.SUSPICIOUS})

# What the leader does to many rows of `deliveries` in one statement. A lease that ran out is an attempt that counts:
# an order that kills its worker dies of it. It does not count after a failure that the worker outlived, as long as
# nothing has succeeded since: that is an outage, in which workers die of something else. `tried`, `blamed`, `died` (its
# worker) and `dies` (it) are columns of the orders that are rescued. What a dead worker held goes again at once, the
# second time after a pause that doubles, so that workers which die one after the other take no order with them; `quiet`
# seconds are what may still be on its way to the ERP.
TRIED: Final = f"state = '{State.DELIVERING}'"
BLAMED: Final = f"""{TRIED} AND (failed_at IS NULL
    OR coalesce((SELECT succeeded_at > failed_at FROM backends WHERE name = :backend), false))"""
DIES: Final = f"{BLAMED} AND attempts >= :max_attempts"
RESCUED: Final = f"CASE WHEN dies THEN '{State.DEAD}' ELSE '{State.ACCEPTED}' END"
TOLD: Final = f"CASE WHEN died THEN '{WORKER_DIED}' ELSE '{UNSETTLED}' END"
RESCUE: Final = f"""state = {RESCUED}, lease = NULL, lease_until = NULL,
    attempts = d.attempts - CASE WHEN tried AND NOT blamed THEN 1 ELSE 0 END,
    due_at = now() + make_interval(secs => CASE WHEN died THEN greatest(CAST(:quiet AS float8),
      CASE WHEN attempts > 1 THEN least(:retry_max, :retry_after * 2.0 ^ (attempts - 2)) ELSE 0 END) ELSE 0 END),
    reason = CASE WHEN dies THEN '{Reason.EXHAUSTED}' END, settled_at = CASE WHEN dies THEN now() END,
    error = CASE WHEN tried THEN {TOLD} ELSE d.error END, status = CASE WHEN NOT tried THEN d.status END,
    sent_at = CASE WHEN tried THEN clock_timestamp() ELSE d.sent_at END"""

# What may be with the ERP is left to a worker, which asks first.
TOO_LATE: Final = f"state = '{State.ACCEPTED}' AND NOT unsure AND valid_until < clock_timestamp()"
TIME_PASSED: Final = Sentence(NotDone.FIELD, field="valid_until", what=Sentence(NotDone.PASSED_BEFORE))
EXPIRE: Final = f"""state = '{State.DEAD}', reason = '{Reason.EXPIRED}', settled_at = now(), status = NULL,
  error = '{TIME_PASSED}', why = '{json.dumps(TIME_PASSED.stored())}'"""

# An ERP that reads files, or works through a queue, does not have at once what it was sent. "Not found" says nothing
# until `absent_after` seconds after the last sending, whose time is the journal's: another worker knows it too.
AGAIN: Final = 0.5  # of the time since the last sending, until it is asked again: a few times however long it takes
POLL_PAUSE: Final = 2.0  # seconds between polls of an order accepted later: it is with the ERP, only we do not know it


@dataclass(frozen=True, slots=True)
class Disposition:
    """What becomes of a delivery: state, when it is due again, the attempts that count, reason, last error and its
    HTTP status.
    """

    state: State
    due_at: datetime
    attempts: int
    unsure: bool = False
    failed_at: datetime | None = None
    reason: Reason | None = None
    error: str | None = None
    status: int | None = None
    why: Sentence | None = None  # the error as a code, of what is dead without an attempt


def decide(
    outcome: Outcome, attempts: int, *, charged: bool, trips: int, settings: Settings, now: datetime
) -> Disposition:
    """What becomes of an order after `outcome`; `attempts` includes this one, `charged` says whether it counts.

    `trips` is how often the backend's circuit opened in a row: an order that failed in an outage steps back
    for longer than the circuit's pause, so that the next canary is another one.
    """
    kind = outcome.kind
    if kind in DELIVERED:
        return Disposition(State.DELIVERED, now, attempts)
    if kind is Kind.PENDING:
        return Disposition(State.SUBMITTED, now + timedelta(seconds=POLL_PAUSE), attempts)
    if kind is Kind.REFUSED:
        return Disposition(
            State.DEAD, now, attempts, reason=Reason.REFUSED, error=outcome.detail, status=outcome.status
        )
    if kind in (Kind.UNSENT, Kind.ABSENT):
        return Disposition(State.ACCEPTED, now + timedelta(seconds=outcome.retry_after or 0.0), attempts - 1)
    unsure = kind in UNSURE
    if charged and attempts >= settings.delivery.max_attempts:
        ended = outcome.ended or now
        return Disposition(State.DEAD, now, attempts, unsure, ended, Reason.EXHAUSTED, outcome.detail, outcome.status)
    counted = attempts if charged else attempts - 1
    wait = backoff(attempts, settings) if charged else 2.5 * pause(trips + 1)
    due_at = now + timedelta(seconds=max(wait, outcome.retry_after or 0.0))
    return Disposition(
        State.ACCEPTED, due_at, counted, unsure, outcome.ended or now, error=outcome.detail, status=outcome.status
    )


def counts(failed_at: datetime | None, successes: Iterable[datetime | None]) -> bool:
    """Whether a failure counts of an order that failed at `failed_at` before: others have succeeded since.

    A first failure may be the beginning of an outage and never does. All are the times of the ERP's answers, not of
    settling: a batch that went well before an outage may be settled after one that met it.
    """
    return failed_at is not None and any(at is not None and at > failed_at for at in successes)


def unfit(
    reason: Reason,
    error: str,
    attempts: int,
    now: datetime,
    why: Sentence | None = None,
    *,
    unsure: bool = False,
) -> Disposition:
    """An order that may not be forwarded dies, and its claim was no attempt."""
    return Disposition(State.DEAD, now, attempts - 1, unsure, reason=reason, error=error, why=why)


def mapped_since(certain: Mapping[UUID, Disposition], now: datetime) -> dict[UUID, Disposition]:
    """What becomes of a batch where a mapping was imported while it was out: what was unmapped goes again."""
    return {
        order_id: Disposition(State.ACCEPTED, now, each.attempts, each.unsure)
        if each.reason is Reason.UNMAPPED
        else each
        for order_id, each in certain.items()
    }


def pending(outcome: Outcome, attempts: int, later: datetime) -> Disposition:
    """An order that the ERP took and has not decided is asked about again."""
    return Disposition(State.SUBMITTED, later, attempts, error=outcome.detail or None)


def forgotten(attempts: int, later: datetime) -> Disposition:
    """An order that the ERP took and does not have any more goes again."""
    return Disposition(State.ACCEPTED, later, attempts, error=FORGOTTEN)


def backoff(attempts: int, settings: Settings) -> float:
    """Seconds before an order that failed `attempts` times goes again: doubling, capped, jittered by a fifth."""
    bounds = settings.delivery
    return doubled(attempts, bounds.retry_after, bounds.retry_max) * random.uniform(0.8, 1.2)


def doubted(outcome: Outcome, sent_at: datetime | None, at: datetime, absent_after: float) -> Outcome:
    """The outcome, but UNKNOWN instead of ABSENT where that was told too early; `at` (the journal's clock) is when the
    ERP was asked, at the earliest, and `retry_after` when it is worth asking again.
    """
    if outcome.kind is not Kind.ABSENT or sent_at is None:
        return outcome
    since = (at - sent_at).total_seconds()
    if since >= absent_after:
        return outcome
    from_then = (sent_at + timedelta(seconds=absent_after)).astimezone(UTC)
    again = min(absent_after - since, max(POLL_PAUSE, AGAIN * since))
    return replace(outcome, kind=Kind.UNKNOWN, detail=f"{NOT_YET} {from_then:%Y-%m-%d %H:%M:%SZ}", retry_after=again)


def asked_later(doubt: Outcome, attempts: int, at: datetime) -> Disposition:
    """An order that may still turn up at the ERP is asked about again, which is no attempt and no failure."""
    due_at = at + timedelta(seconds=doubt.retry_after or 0.0)
    return Disposition(State.ACCEPTED, due_at, attempts - 1, unsure=True, error=doubt.detail)
