"""The circuit and the window of a backend, as a pure function of what a batch met.

closed    flowing; failures in a row open it, and the window grows and shrinks as `workers.window` says.
open      nothing is sent until `probe_at`; each opening without a success between doubles the pause.
half_open one canary at a time; its success closes the circuit with a window of two.

A batch that was claimed before the circuit last changed says nothing about the backend as it is now.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from config.settings import Settings
from workers.window import grown, shrunk


@dataclass(frozen=True, slots=True)
class Circuit:
    """The columns of a backend's row that delivery decides.

    `ceiling` is the window that last failed, `credit` what went well since its last step, in orders.
    """

    circuit: str
    window: int
    failures: int
    trips: int
    changed_at: datetime
    probe_at: datetime | None
    shrunk_at: datetime
    succeeded_at: datetime | None
    why: str | None
    ceiling: int | None = None
    credit: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """What one batch met: orders `answered` by the ERP, `failed`, `throttled`; when the last success was answered.

    `claimed_at` and `waited` (seconds in Redis) tell whether it speaks of the backend as it is now. Of the answered,
    `refused` were; `seconds` is what a success took on average; `retried` are the orders that took more than one
    call, whatever came of them.
    """

    answered: int
    failed: int
    throttled: int
    claimed_at: datetime
    waited: float
    succeeded_at: datetime | None = None
    suspicious: str | None = None
    error: str | None = None
    refused: int = 0
    seconds: float | None = None
    retried: int = 0

    @property
    def turned_away(self) -> int:
        """Orders that the ERP turned away at least once."""
        return max(self.failed + self.throttled, self.retried)

    @property
    def unwell(self) -> bool:
        """True when the ERP did badly by the batch; a lone bad order among many good ones is not its fault."""
        many = self.retried > 1 and self.retried * 4 > self.answered
        return self.throttled > 0 or self.failed * 10 > self.answered or many


def advance(was: Circuit, tally: Tally, settings: Settings, now: datetime) -> Circuit:
    """The backend's circuit after a batch."""
    if tally.succeeded_at is not None:
        was = replace(was, succeeded_at=max(tally.succeeded_at, was.succeeded_at or tally.succeeded_at))
    if was.circuit == "open" or tally.claimed_at < was.changed_at:
        return was
    if tally.suspicious:
        return _opened(was, f"suspicious: {tally.suspicious}", settings, now)
    if tally.answered:
        return shrunk(_flowing(was, tally, settings, now), tally, now)
    if tally.failed:
        failures = was.failures + tally.failed
        if was.circuit == "half_open" or failures >= settings.trip_after:
            return _opened(was, tally.error or "failures in a row", settings, now)
        was = replace(was, failures=failures)
    return shrunk(was, tally, now)


def pause(trips: int, settings: Settings) -> float:
    """Seconds that a circuit stays open at its `trips`-th opening in a row."""
    return min(settings.probe_max, settings.probe_after * 2.0 ** min(trips - 1, 20))


def _opened(was: Circuit, why: str, settings: Settings, now: datetime) -> Circuit:
    trips = was.trips + 1
    wait = pause(trips, settings) * random.uniform(0.9, 1.1)
    return replace(
        was,
        circuit="open",
        window=1,
        credit=0,
        failures=0,
        trips=trips,
        changed_at=now,
        probe_at=now + timedelta(seconds=wait),
        why=why[:200],
    )


def _flowing(was: Circuit, tally: Tally, settings: Settings, now: datetime) -> Circuit:
    """An ERP that answers closes its circuit and, all being well, earns a larger window."""
    if was.circuit == "half_open":
        return replace(
            was, circuit="closed", window=2, credit=0, failures=0, trips=0, changed_at=now, probe_at=None, why=None
        )
    return grown(replace(was, failures=0, trips=0), tally, settings.window_max)
