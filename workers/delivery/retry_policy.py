"""The one place where the outcome of an attempt becomes the fate of an order.

A failed attempt counts against its order only when the order had failed before and others have succeeded since: what
an outage costs, it costs nobody. Whatever may have reached the ERP is marked `unsure`, so that the next attempt asks
before it sends.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from config.settings import Settings
from orders.states import Reason, State
from workers.delivery.circuit_breaker import pause
from workers.erp.port import Kind, Outcome

ANSWERED = frozenset({Kind.ACCEPTED, Kind.DUPLICATE, Kind.PENDING, Kind.REFUSED})
SUCCEEDED = frozenset({Kind.ACCEPTED, Kind.DUPLICATE, Kind.PENDING})
FAILED = frozenset({Kind.TRANSIENT, Kind.UNKNOWN, Kind.SUSPICIOUS})
UNSURE = frozenset({Kind.UNKNOWN, Kind.SUSPICIOUS})

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


def decide(
    outcome: Outcome, attempts: int, *, charged: bool, trips: int, settings: Settings, now: datetime
) -> Disposition:
    """The fate after `outcome`; `attempts` includes this one, `charged` says whether it counts.

    `trips` is how often the backend's circuit opened in a row: an order that failed in an outage steps back
    for longer than the circuit's pause, so that the next canary is another one.
    """
    kind = outcome.kind
    if kind in (Kind.ACCEPTED, Kind.DUPLICATE):
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
    if charged and attempts >= settings.max_attempts:
        ended = outcome.ended or now
        return Disposition(State.DEAD, now, attempts, unsure, ended, Reason.EXHAUSTED, outcome.detail, outcome.status)
    counted = attempts if charged else attempts - 1
    wait = backoff(attempts, settings) if charged else 2.5 * pause(trips + 1)
    due_at = now + timedelta(seconds=max(wait, outcome.retry_after or 0.0))
    return Disposition(
        State.ACCEPTED, due_at, counted, unsure, outcome.ended or now, error=outcome.detail, status=outcome.status
    )


def backoff(attempts: int, settings: Settings) -> float:
    """Seconds before an order that failed `attempts` times goes again: doubling, capped, jittered by a fifth."""
    wait = min(settings.retry_max, settings.retry_after * 2.0 ** min(attempts - 1, 20))
    return wait * random.uniform(0.8, 1.2)
