"""The circuit and the window of a backend, as a pure function of what a batch met.

closed    flowing; failures in a row open it, and the window grows and shrinks as `workers.delivery.window` says.
open      nothing is sent until `probe_at`; each opening without a success between doubles the pause.
half_open one canary at a time; its success closes the circuit with a window of two.

A batch that was claimed before the circuit last changed says nothing about the backend as it is now. Its failures are
those of the outage that opened the circuit, and are counted in it.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from config.backoff import backoff
from config.settings import Settings
from orders.sentences import Code, Sentence
from orders.states import CircuitState
from workers.delivery.backend_state import BatchCounts, Circuit
from workers.delivery.window import grown, shrunk

FIRST_PROBE: Final = 2.0  # seconds that an open circuit waits for its first canary; doubles: a hiccup is over by then
LAST_PROBE: Final = 60.0  # seconds between canaries in a long outage: how late we may notice that it is over


def advance(was: Circuit, tally: BatchCounts, settings: Settings, now: datetime) -> Circuit:
    """The backend's circuit after a batch."""
    if tally.succeeded_at is not None:
        was = replace(was, succeeded_at=max(tally.succeeded_at, was.succeeded_at or tally.succeeded_at))
    if was.circuit == CircuitState.OPEN or tally.claimed_at < was.changed_at:
        return was if was.circuit == CircuitState.CLOSED or was.failing_since is None else _failing(was, tally, now)
    if tally.suspicious:
        why = Sentence(Code.SUSPICIOUS, detail=tally.suspicious)
        return _opened(_failing(was, tally, now), why, now)
    if tally.answered:
        return shrunk(_flowing(was, tally, settings, now), tally, now)
    if tally.failed:
        was = _failing(was, tally, now)
        if was.circuit == CircuitState.HALF_OPEN or was.failures >= settings.delivery.trip_after:
            why = Sentence(Code.MET, detail=tally.error) if tally.error else Sentence(Code.FAILURES)
            return _opened(was, why, now)
    return shrunk(was, tally, now)


def pause(trips: int) -> float:
    """Seconds that a circuit stays open at its `trips`-th opening in a row."""
    return backoff(trips, FIRST_PROBE, LAST_PROBE)


def _opened(was: Circuit, why: Sentence, now: datetime) -> Circuit:
    trips = was.trips + 1
    wait = pause(trips) * random.uniform(0.9, 1.1)
    return replace(
        was,
        circuit=CircuitState.OPEN,
        window=1,
        credit=0,
        trips=trips,
        changed_at=now,
        probe_at=now + timedelta(seconds=wait),
        why=why,
    )


def _flowing(was: Circuit, tally: BatchCounts, settings: Settings, now: datetime) -> Circuit:
    """An ERP that answers closes its circuit and, all being well, earns a larger window."""
    if was.circuit == CircuitState.HALF_OPEN:
        fresh = replace(was, circuit=CircuitState.CLOSED, window=2, credit=0, changed_at=now, probe_at=None, why=None)
        return replace(fresh, failures=0, failing_since=None, trips=0)
    return grown(replace(was, failures=0, failing_since=None, trips=0), tally, settings.delivery.window_max)


def _failing(was: Circuit, tally: BatchCounts, now: datetime) -> Circuit:
    """The failures counted on, from the first one after the backend last answered."""
    if not tally.failed:
        return was
    first = tally.failed_at or now
    first = max(first, was.succeeded_at or first)
    return replace(was, failures=was.failures + tally.failed, failing_since=min(was.failing_since or first, first))
